"""Base of the repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, Select, Table, delete, insert, update

from fleet.errors import NotFoundError

R = TypeVar("R")


def equal(table: Table, **values: Any) -> list[ColumnElement[bool]]:
    """Return the conditions that columns have these values."""
    return [table.c[name] == value for name, value in values.items()]


class Repository:
    """Connection of one transaction, and the one time (Unix ms) of all that it writes."""

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms

    def _run(self, statement: Executable) -> CursorResult[Any]:
        return self._connection.execute(statement)

    def _rows(self, kind: Callable[..., R], query: Select[Any]) -> list[R]:
        """Return a `kind` for each row, made of its columns by name."""
        return [kind(**row) for row in self._run(query).mappings()]

    def _row(self, kind: Callable[..., R], query: Select[Any]) -> R | None:
        """Return the first row, or None."""
        row = self._run(query).mappings().first()
        return None if row is None else kind(**row)

    def _one(self, kind: Callable[..., R], query: Select[Any], missing: str, hint: str = "") -> R:
        """Return the first row; `NotFoundError` with the text of `missing` if there is none."""
        row = self._row(kind, query)
        if row is None:
            raise NotFoundError(missing, hint=hint)
        return row

    def _column(self, query: Select[Any]) -> list[Any]:
        """Return the first column of each row."""
        return list(self._run(query).scalars())

    def _insert(self, table: Table, **values: Any) -> None:
        self._run(insert(table).values(values))

    def _insert_all(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._connection.execute(insert(table), rows)

    def _update(self, table: Table, *conditions: Any, **values: Any) -> int:
        """Change rows; returns how many there were."""
        return self._run(update(table).where(*conditions).values(values)).rowcount

    def _delete(self, table: Table, *conditions: Any) -> int:
        """Delete rows; returns how many there were."""
        return self._run(delete(table).where(*conditions)).rowcount
