"""Base of the repositories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Double,
    Executable,
    Select,
    Table,
    bindparam,
    cast,
    delete,
    func,
    select,
    update,
)

from fleet.domain.node import EnergyPhase
from fleet.errors import NotFoundError
from fleet.store.rows import CostSumRow
from fleet.store.touched import Contacts, Touched
from fleet.store.writes import Writes

R = TypeVar("R")


def equal(table: Table, **values: Any) -> list[ColumnElement[bool]]:
    """Return the conditions that columns have these values."""
    return [table.c[name] == value for name, value in values.items()]


def given(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a column has the value that is given under its name with each run.

    For statements that are made once: to make one takes several times as long as to run it.
    """
    return column == bindparam(column.key)


def one_of(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values that are given under its name with each run."""
    return column.in_(bindparam(column.key, expanding=True))


@cache
def _count_by(column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> Select[Any]:
    return select(column, func.count()).where(*conditions).group_by(column)


@dataclass(frozen=True)
class Scope:
    """One transaction, as its repositories share it."""

    connection: Connection
    #: The one time (Unix ms) of all that it writes.
    now_ms: int
    touched: Touched = field(default_factory=Touched)
    contacts: Contacts = field(default_factory=Contacts)
    #: Whom the newest revision names, and of whom it has LoRA rows, by its digest; of all transactions.
    named: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    #: Rows that were read, by table and what they were asked for by: nobody else writes meanwhile.
    read: dict[str, dict[Any, Any]] = field(default_factory=lambda: defaultdict(dict))
    #: Tables that were written to, a name each time.
    wrote: list[str] = field(default_factory=list)
    #: What is written with the next statement.
    writes: Writes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "writes", Writes(self.connection))

    def send(self) -> None:
        """Send what waits to be written."""
        if self.writes:
            # Whoever comes upon a failure of it has written: all is done again, each alone.
            self.wrote.append("")
            self.writes.send()


class Repository:
    """Rows of one noun, within one transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._connection, self._now_ms, self._touched = scope.connection, scope.now_ms, scope.touched

    def _once(self, table: Table, key: Any, load: Callable[[], R]) -> R:
        """Return what `load` reads of a table, or has read since it was written to."""
        read = self._scope.read[table.name]
        if key not in read:
            read[key] = load()
        found: R = read[key]
        return found

    def _written(self, table: Table) -> None:
        self._scope.read[table.name].clear()
        self._scope.wrote.append(table.name)

    def _run(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """Run a statement, once or with each of some rows, over all that was written before."""
        self._scope.send()
        return self._connection.execute(statement, values)

    def _rows(self, kind: Callable[..., R], query: Select[Any], **values: Any) -> list[R]:
        """Return a `kind` for each row, made of its columns by name."""
        result = self._run(query, values)
        names = tuple(result.keys())
        return [kind(**dict(zip(names, row, strict=True))) for row in result.all()]

    def _row(self, kind: Callable[..., R], query: Select[Any], **values: Any) -> R | None:
        """Return the first row, or None."""
        row = self._run(query, values).mappings().first()
        return None if row is None else kind(**row)

    def _one(self, kind: Callable[..., R], query: Select[Any], missing: str, hint: str = "", **values: Any) -> R:
        """Return the first row; `NotFoundError` with the text of `missing` if there is none."""
        row = self._row(kind, query, **values)
        if row is None:
            raise NotFoundError(missing, hint=hint)
        return row

    def _column(self, query: Select[Any], **values: Any) -> list[Any]:
        """Return the first column of each row."""
        return list(self._run(query, values).scalars())

    def _counted(self, column: ColumnElement[R], *conditions: ColumnElement[bool], **values: Any) -> dict[R, int]:
        """Return how many rows have each value of a column; conditions that are made once."""
        rows: Iterable[Any] = self._run(_count_by(column, *conditions), values)
        return dict(map(tuple, rows))

    def _cost_sums(self, table: Table, *conditions: ColumnElement[bool]) -> list[CostSumRow]:
        """Return the sums of costs by phase, in the order of `EnergyPhase`."""
        # Nodes may claim so much that whole numbers run over.
        sums = [
            func.sum(cast(table.c[name], Double)).label(name)
            for name in ("energy_j", "seconds", "bytes", "cell_writes")
        ]
        rows = self._run(select(table.c.phase, *sums).where(*conditions).group_by(table.c.phase)).mappings()
        whole = [{**row, "bytes": int(row["bytes"]), "cell_writes": int(row["cell_writes"])} for row in rows]
        found = [CostSumRow(**row) for row in whole]
        return sorted(found, key=lambda row: list(EnergyPhase).index(row.phase))

    def _insert(self, table: Table, **values: Any) -> None:
        """Insert a row, at the latest with the commit."""
        self._written(table)
        self._scope.writes.insert(table, values)

    def _insert_all(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._insert(table, **row)

    def _change(
        self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any], expected: Mapping[str, Any] | None = None
    ) -> None:
        """Change the row of a key, which must be there, at the latest with the commit.

        What was read of it is not forgotten: that is up to the caller.
        """
        self._scope.wrote.append(table.name)
        self._scope.writes.update(table, key, values, expected or {})

    def _update(self, table: Table, *conditions: Any, **values: Any) -> int:
        """Change rows; returns how many there were."""
        self._written(table)
        return self._run(update(table).where(*conditions).values(values)).rowcount

    def _delete(self, table: Table, *conditions: Any) -> int:
        """Delete rows; returns how many there were."""
        self._written(table)
        return self._run(delete(table).where(*conditions)).rowcount
