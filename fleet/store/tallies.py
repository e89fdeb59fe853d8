"""Counts over a fleet's whole life."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from fleet.domain.tallies import SUM, Tally, bucket
from fleet.store import schema
from fleet.store.repository import Repository

_TALLY = schema.tally.c
_THERE = select(_TALLY.name, _TALLY.label)
_ADD = (
    update(schema.tally)
    .where(_TALLY.name == bindparam("of"), _TALLY.label == bindparam("labelled"))
    .values(value=_TALLY.value + bindparam("more", type_=_TALLY.value.type))
)


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
        found = defaultdict[str, dict[str, float]](dict)
        for row in self._run(select(_TALLY.name, _TALLY.label, _TALLY.value)):
            found[row.name][row.label] = row.value
        return found

    def write(self) -> None:
        """Write what was added: a statement for all that are there, and one for those that are new."""
        added, table = self._touched.tallies, schema.tally
        if not added:
            return
        there = {(row.name, row.label) for row in self._run(_THERE)}
        if known := [{"of": key[0], "labelled": key[1], "more": added[key]} for key in sorted(added.keys() & there)]:
            self._written(table)
            self._run(_ADD, known)
        for name, label in sorted(added.keys() - there):
            self._insert(table, name=name, label=label, value=added[name, label])
