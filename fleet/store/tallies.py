"""Counts over a fleet's whole life."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from fleet.domain.tallies import SUM, Tally, bucket
from fleet.store import schema
from fleet.store.repository import Repository


class Tallies(Repository):
    """Sums by name and label; what one transaction adds is written once, with its commit."""

    def add(self, tally: Tally, label: str, amount: float = 1.0) -> None:
        """Add to a count: a fact of this transaction, so gone with it if it is not committed."""
        self._touched.tallies[tally, label] += amount

    def observe(self, tally: Tally, seconds: float) -> None:
        """Count a duration in its bucket, and add it to the sum."""
        self.add(tally, bucket(seconds))
        self.add(tally, SUM, seconds)

    def all(self) -> Mapping[str, Mapping[str, float]]:
        """Return all counts, by name and label."""
        table, found = schema.tally.c, defaultdict[str, dict[str, float]](dict)
        for row in self._run(select(table.name, table.label, table.value)):
            found[row.name][row.label] = row.value
        return found

    def write(self) -> None:
        """Write what was added: a statement for all that are there, and one for those that are new."""
        added, table = self._touched.tallies, schema.tally
        if not added:
            return
        there = {(row.name, row.label) for row in self._run(select(table.c.name, table.c.label))}
        if known := [{"of": key[0], "labelled": key[1], "more": added[key]} for key in sorted(added.keys() & there)]:
            mine = (table.c.name == bindparam("of"), table.c.label == bindparam("labelled"))
            more = bindparam("more", type_=table.c.value.type)
            self._written(table)
            self._run(update(table).where(*mine).values(value=table.c.value + more), known)
        for name, label in sorted(added.keys() - there):
            self._insert(table, name=name, label=label, value=added[name, label])
