"""Changes of a transaction that others wait for, and what nodes said last that is not written yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.store.rows import NodeCostRow


@dataclass
class Touched:
    """Changes that concern nodes, their streams, or facts that are kept in memory."""

    #: Something that every connected node must hear of: the log, the revision.
    everybody: bool = False
    #: Nodes whose executions, standing or progress changed.
    nodes: set[str] = field(default_factory=set)
    #: Newest generation, if it changed.
    generation: int | None = None
    #: Whether a node is held now, of those of which that changed.
    held: dict[str, bool] = field(default_factory=dict)
    #: Whether leases and forgets wait for a node now, of those of which that changed.
    awaited: dict[str, bool] = field(default_factory=dict)
    #: What was added to counts, by name and label.
    tallies: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float), compare=False)
    #: What may be asked of nodes for the head has changed.
    heads: bool = False
    #: Names of the tables that were written to.
    wrote: set[str] = field(default_factory=set, compare=False)
    #: Last lease sequence, and the time (Unix ms) that no lease outlives, if more were reserved.
    leases: tuple[int, int] | None = None


@dataclass(frozen=True)
class Contact:
    """Latest of what one node said: columns of its row, and its cumulative costs."""

    row: Mapping[str, Any] = field(default_factory=dict)
    costs: tuple[NodeCostRow, ...] = ()


class Contacts:
    """Heartbeats and telemetry that are not written yet; reading sees them in place of what is stored.

    They are acknowledged to nobody, so they may be lost in a crash: a node says them again within seconds.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Contact] = {}

    def note(self, node_id: str, costs: tuple[NodeCostRow, ...] = (), /, **row: Any) -> None:
        """Note what a node said; of what it leaves out, the latest stays."""
        before = self.of(node_id)
        # Anew, and not changed: other threads read it.
        self._latest[node_id] = Contact({**before.row, **row}, costs or before.costs)

    def of(self, node_id: str) -> Contact:
        """Return what is not written of a node."""
        return self._latest.get(node_id, _NOTHING)

    def leased(self, now_ms: int) -> Sequence[str]:
        """Return the ids of the nodes of which a lease is not written that lasts; about as many as in two seconds."""
        # A copy: other threads write it.
        return [node_id for node_id, said in list(self._latest.items()) if said.row.get("lease_until_ms", 0) > now_ms]

    def unwritten(self) -> Mapping[str, Contact]:
        """Return what is to be written."""
        return dict(self._latest)

    def written(self, contacts: Mapping[str, Contact]) -> None:
        """Forget what is stored now, but for what came meanwhile."""
        for node_id, contact in contacts.items():
            if self._latest.get(node_id) is contact:
                del self._latest[node_id]


_NOTHING = Contact()
