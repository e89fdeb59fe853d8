"""All rows of a database, to be copied into another one of either kind."""

from __future__ import annotations

from sqlalchemy import select

from fleet.store import schema
from fleet.store.repository import Repository

#: Rows in memory at a time: some have megabytes.
_AT_ONCE = 20


class AllRows(Repository):
    """Rows of every table but that of who leads, which is about the database and not about the fleet in it."""

    def replace(self, source: AllRows) -> None:
        """Put the rows of another database in the place of these.

        Numbers that a database gives by itself are given anew, in the same order.
        """
        tables = [table for table in schema.metadata.sorted_tables if table is not schema.leader]
        for table in reversed(tables):
            self._delete(table)
        for table in tables:
            given = [column for column in table.columns if column is not table.autoincrement_column]
            rows = source._run(select(*given).order_by(*table.primary_key).execution_options(yield_per=_AT_ONCE))
            for some in rows.mappings().partitions():
                self._insert_all(table, [dict(row) for row in some])
