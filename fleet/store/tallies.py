"""Counts over a fleet's whole life."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import select

from fleet.domain.tallies import SUM, Tally, bucket
from fleet.store import schema
from fleet.store.repository import Repository, equal


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
        """Write what was added."""
        table = schema.tally
        for (name, label), amount in sorted(self._touched.tallies.items()):
            if not self._update(table, *equal(table, name=name, label=label), value=table.c.value + amount):
                self._insert(table, name=name, label=label, value=amount)
