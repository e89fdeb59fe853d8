"""Story of the cohort tests: six people on three nodes in two shards, trained twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.code_ranges import CodeRange

from fleet.coordinator.testing import CODES
from tests.integration.cohorts.cohort_fleet import CohortFleet, LearningNode, NodeClock, samples_of, tags_in

NODES = ("n1", "n2", "n3")


ANN, BOB, CEM, DEB = tags_in(0, 4)


EVE, FAY = tags_in(1, 2)


#: Everybody shares a node with everybody else of their shard: else rows would not depend on each other.
AT = {ANN: ("n1", "n2"), BOB: ("n2", "n3"), CEM: ("n3", "n1"), DEB: ("n2", "n3"), EVE: ("n1", "n2"), FAY: ("n2", "n3")}


@dataclass
class Clock:
    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


CLOCK = Clock()


def build(
    folder: Path,
    *absent: str,
    codes: CodeRange = CODES,
    make_node: Callable[[str, NodeClock], LearningNode] = LearningNode,
) -> CohortFleet:
    """Train two rounds; Cem enters; two more; Deb is enrolled too late to be in anything."""
    fleet = CohortFleet.make(folder, CLOCK, NODES, codes, make_node)
    first = {tag: AT[tag] for tag in (ANN, BOB, EVE, FAY) if tag not in absent}
    fleet.enrol(first)
    fleet.train("t1")
    fleet.enrol({tag: AT[tag] for tag in (CEM,) if tag not in absent})
    fleet.train("t2")
    return fleet


def basis(fleet: CohortFleet, campaign_id: str) -> tuple[int, str]:
    with fleet.coordinator.transaction() as unit:
        found = {v.adapter_kind: v for v in unit.views.verdicts_of(unit.tx.forgets.get(campaign_id))}
        where = [(e.node_id, e.state, e.detail) for e in unit.tx.forgets.executions(campaign_id)]
    assert set(found) == {"subject-adapter", "closed-form-head", "cohort-lora"}, where
    return found["cohort-lora"].verdict, found["cohort-lora"].basis


def audited(fleet: CohortFleet, shard: int) -> dict:
    with fleet.coordinator.transaction() as unit:
        unit.cohort_jobs.start_audit(shard)
    fleet.run()
    return dict(fleet.shard(shard).audit)


def capture_more(fleet: CohortFleet, tag: str, node_id: str) -> None:
    """Capture samples of somebody once more, and report them."""
    node = fleet.nodes[node_id]
    node.capture(tag, samples_of(tag, f"{node_id} again"))
    fleet.coordinator.take(node_id, node.contribution())
