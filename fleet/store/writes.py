"""Writes of a transaction that are not sent yet: rows that are alike go with one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, Update, bindparam, insert, update

from fleet.errors import VersionConflictError
from fleet.store import schema

_ORDER = {table: place for place, table in enumerate(schema.metadata.sorted_tables)}


class Writes:
    """Rows to insert, and changes of single rows, in the order in which foreign keys want them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inserts: dict[tuple[Table, tuple[str, ...]], list[Mapping[str, Any]]] = defaultdict(list)
        #: By table and key: conditions of the first change, values of the last.
        self._updates: dict[tuple[Table, tuple[tuple[str, Any], ...]], tuple[Mapping[str, Any], dict[str, Any]]] = {}

    def insert(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row."""
        self._inserts[table, tuple(row)].append(row)

    def update(
        self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> None:
        """Change the row of a key, which has the expected values now."""
        _, later = self._updates.setdefault((table, tuple(key.items())), (expected, {}))
        later.update(values)

    def __bool__(self) -> bool:
        return bool(self._inserts or self._updates)

    def send(self) -> None:
        """Send what waits; `VersionConflictError` if a row is not as it was expected to be, or not there."""
        inserts, self._inserts = self._inserts, defaultdict(list)
        for (table, _), rows in sorted(inserts.items(), key=lambda item: _ORDER[item[0][0]]):
            self._connection.execute(_inserting(table), rows)
        alike = defaultdict[tuple[Table, tuple[str, ...], tuple[str, ...]], list[dict[str, Any]]](list)
        for (table, key), (expected, values) in self._updates.items():
            where = {**dict(key), **expected}
            alike[table, tuple(where), tuple(values)].append(
                {f"old_{name}": value for name, value in where.items()}
                | {f"new_{name}": value for name, value in values.items()}
            )
        self._updates = {}
        for (table, old, new), changes in alike.items():
            if self._connection.execute(_changing(table, old, new), changes).rowcount != len(changes):
                raise VersionConflictError(f"a row of table {table.name} has changed since it was read")


_inserting = lru_cache(insert)


@lru_cache
def _changing(table: Table, old: tuple[str, ...], new: tuple[str, ...]) -> Update:
    def parameter(prefix: str, name: str) -> Any:
        return bindparam(f"{prefix}_{name}", type_=table.c[name].type)

    return (
        update(table)
        .where(*(table.c[name] == parameter("old", name) for name in old))
        .values({name: parameter("new", name) for name in new})
    )
