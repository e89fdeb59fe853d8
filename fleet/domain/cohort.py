"""History of a cohort shard, which decides its rows: who entered when, and each round's nodes and samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class AuditState(StrEnum):
    """State of the last audit of a cohort shard."""

    NONE = "none"
    RUNNING = "running"
    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not-reproduced"
    #: Nodes could not say: one has gone, or has not all samples any more.
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"


@dataclass(frozen=True)
class LoggedRound:
    """One round, as it happened."""

    #: Nodes whose replies were averaged.
    nodes: frozenset[str]
    #: Digest of what the shard's people had contributed; empty if that changed while the round ran.
    inputs: str
    #: A replay could not have the nodes of before: the round stands as it went then.
    rewritten: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"nodes": sorted(self.nodes), "inputs": self.inputs, "rewritten": self.rewritten}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoggedRound:
        """Read what `to_json` returned."""
        return cls(frozenset(value["nodes"]), str(value["inputs"]), bool(value["rewritten"]))

    def replaced_by(self, again: LoggedRound) -> LoggedRound:
        """Return the entry of a round that a replay has done again."""
        return replace(again, rewritten=self.rewritten or self.nodes != again.nodes)


@dataclass(frozen=True)
class Segment:
    """Rounds [first, end) of a shard in which nobody enters after the first: one Flower run."""

    first: int
    end: int
    #: Everybody in the shard during it, sorted.
    tags: tuple[str, ...]


@dataclass(frozen=True)
class CohortHistory:
    """The history of one shard."""

    shard: int
    #: Round before which each person entered, by tag.
    entries: Mapping[str, int]
    #: Its rounds.
    log: tuple[LoggedRound, ...]

    @property
    def rounds(self) -> int:
        """Rounds so far."""
        return len(self.log)

    @property
    def tags(self) -> tuple[str, ...]:
        """Everybody in the shard, sorted."""
        return tuple(sorted(self.entries))

    def segment(self, first: int) -> Segment | None:
        """Return the segment that a replay from a round begins with; None if nobody is there any more.

        Rounds before anybody was there compute nothing and are skipped.
        """
        if not self.entries:
            return None
        first = max(first, min(self.entries.values()))
        later = [entry for entry in self.entries.values() if entry > first]
        here = sorted(tag for tag, entry in self.entries.items() if entry <= first)
        return Segment(first, min(later, default=self.rounds), tuple(here))

    def has_members_before(self, round_number: int) -> bool:
        """Whether somebody entered before a round, so that a replay from it needs a checkpoint."""
        return any(entry < round_number for entry in self.entries.values())

    def checkpoint_rounds(self) -> frozenset[int]:
        """Return the rounds before which a checkpoint is worth keeping: somebody enters, and somebody is there."""
        return frozenset(e for e in self.entries.values() if self.has_members_before(e))

    def nodes_from(self, first: int, end: int) -> frozenset[str]:
        """Return every node that took part in one of these rounds."""
        return frozenset(node for entry in self.log[first:end] for node in entry.nodes)


def differences(logged: Iterable[LoggedRound], repeated: Iterable[LoggedRound], first_round: int = 0) -> list[str]:
    """Return why re-executed rounds could give other integers than the logged ones, one line each.

    None: same nodes, same samples, so the integers must be equal to the bit, whatever the nodes compute with.
    """
    lines = []
    for number, (then, now) in enumerate(zip(logged, repeated, strict=True), first_round):
        if then.nodes != now.nodes:
            missing = ", ".join(sorted(then.nodes - now.nodes))
            lines.append(f"round {number}: computed without {missing or 'the logged nodes alone'}")
        if then.inputs != now.inputs or not then.inputs:
            lines.append(f"round {number}: people of the shard have had samples captured since")
    return lines
