"""Histories: timed actions with all their parameters, from which a run follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleet.documents import document
from fleet.errors import InvalidInputError, NotFoundError, reason_of
from fleet.sim.faults.kinds import FAULTS, Kind

#: Kind of the document that a history is written as.
DOCUMENT = "FaultHistory"


@dataclass(frozen=True)
class Action:
    """Something that is done, or that fails, at a time.

    Parameters
    ----------
    at_s
        Virtual time since the history began.
    node
        Number of the node that it concerns; None for the coordinator, or the fleet.
    values
        The other parameters, by name.
    """

    at_s: float
    kind: Kind
    node: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_fault(self) -> bool:
        """Whether something fails."""
        return self.kind in FAULTS

    def __str__(self) -> str:
        who = "" if self.node is None else f" node-{1 + self.node}"
        return f"{self.kind}{who}" + "".join(f" {name}={value}" for name, value in self.values.items())


@dataclass(frozen=True)
class History:
    """Actions in the order of their times, and the fleet that they are done with.

    What happens is a function of this alone: a history with fewer actions is one, too.

    Parameters
    ----------
    seed
        Of all draws while it runs: keys, nonces, latencies.
    nodes
        Nodes at the start.
    """

    seed: int
    nodes: int
    actions: Sequence[Action]

    def without(self, places: frozenset[int]) -> History:
        """Return the history without the actions at these places."""
        return replace(self, actions=tuple(each for at, each in enumerate(self.actions) if at not in places))

    def text(self) -> str:
        """Return it as JSON, for `parse`."""
        actions = [
            {"at_s": each.at_s, "kind": each.kind.value, "node": each.node, **({"values": each.values})}
            for each in self.actions
        ]
        return json.dumps(document(DOCUMENT, seed=self.seed, nodes=self.nodes, actions=actions), indent=1) + "\n"

    @classmethod
    def parse(cls, text: str, where: str = "the history") -> History:
        """Read a history; `InvalidInputError` if it is none."""
        try:
            body = json.loads(text)
            if body["kind"] != DOCUMENT:
                raise ValueError(f"it is a document of kind {body['kind']}")
            actions = [
                Action(float(each["at_s"]), Kind(each["kind"]), each["node"], dict(each["values"]))
                for each in body["actions"]
            ]
            return cls(int(body["seed"]), int(body["nodes"]), tuple(actions))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{where} is no history of faults: {error}") from error

    @classmethod
    def load(cls, path: Path) -> History:
        """Read the file of a history; `NotFoundError` if there is none, and what `parse` raises."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise NotFoundError(f"cannot read {path}: {reason_of(error)}") from error
