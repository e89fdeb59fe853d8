"""Program `stored fleet`: the cohort tests' story by nodes on disk, trained in one process and audited in others.

``python -m tests.integration.cohorts.stored_fleet train|audit FOLDER`` prints what became of each shard: the digest of
its rows, and what the audit says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from reram_fleet.crypto.key_store import FileKeyStore
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.config import StateFolder
from edge_node.storage.journal import Journal
from edge_node.storage.keys import NodeKeys
from fleet.coordinator.learning.cohorts import digest_of
from fleet.coordinator.testing import CODES, SteppedCoordinator
from tests.integration.cohorts.cohort_fleet import SHARDS, CohortFleet, LearningNode, NodeClock
from tests.integration.cohorts.story import CLOCK, NODES, audited, build


class StoredNode(LearningNode):
    """Node whose journal and keys are files in a folder; the same node again wherever it is opened."""

    def __init__(self, node_id: str, clock: NodeClock, root: Path) -> None:
        super().__init__(node_id, clock)
        self._folder, self._answer = StateFolder(root / node_id), root / node_id / "enrolment"
        self.keys = NodeKeys.create(self._folder, node_id)
        keys = self._folder.subject_keys, self._folder.revision_keys
        self._subject_keys, self._revision_keys = map(FileKeyStore, keys)  # type: ignore[assignment]

    def join(self, enrollment: EnrollNodeResponse) -> None:
        self._answer.write_bytes(enrollment.SerializeToString())
        super().join(enrollment)

    def reopen(self) -> None:
        """Start from what lies in the folder."""
        super().join(EnrollNodeResponse.FromString(self._answer.read_bytes()))

    def _opened(self, journal: bytes) -> Journal:
        return Journal.open(self._folder.journal, self.node_id)


def reopened(folder: Path) -> CohortFleet:
    """Return the fleet that another process has trained."""
    nodes = {node_id: StoredNode(node_id, NodeClock(CLOCK), folder / "nodes") for node_id in NODES}
    for node in nodes.values():
        node.reopen()
    coordinator = SteppedCoordinator(folder / "fleet", learning=True, now_ms=CLOCK, codes=CODES)
    fleet = CohortFleet(folder / "fleet", dict(nodes), CLOCK, set(NODES), coordinator)
    fleet.settle()
    return fleet


def main(verb: str, folder: Path) -> None:
    """Train, or audit what was trained."""
    if verb == "train":
        fleet = build(folder / "fleet", make_node=lambda *named: StoredNode(*named, folder / "nodes"))
    else:
        fleet = reopened(folder)
    found = {}
    for shard in range(SHARDS):
        audit = audited(fleet, shard) if verb == "audit" else {}
        with fleet.coordinator.transaction() as unit:
            found[str(shard)] = {"digest": digest_of(unit.cohorts.rows_of(shard)), "audit": audit}
    for node in fleet.nodes.values():
        node.node.close()
    fleet.coordinator.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
