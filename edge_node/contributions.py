"""What this node contributes to the fleet's subject adapters: integer sums, sealed to the coordinator."""

from __future__ import annotations

from reram_fleet import sealing, signing
from reram_fleet.v1.node_pb2 import Contribution, ContributionAck
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import Envelope

from edge_node.journal import Journal
from edge_node.keys import NodeKeys
from edge_node.vault import Vault


class Contributions:
    """The outbox: enrolments that the coordinator has not acknowledged.

    Nothing sealed to the coordinator is stored: it is made from the sealed codes whenever it is sent, so that
    destroying their key leaves no copy that this node could not erase.
    """

    def __init__(
        self, keys: NodeKeys, enrollment: EnrollNodeResponse, journal: Journal, vault: Vault
    ) -> None:
        self._keys, self._enrollment, self._journal, self._vault = keys, enrollment, journal, vault
        self._sent: set[tuple[str, int]] = set()

    def reconnected(self) -> None:
        """Forget what was sent: the old stream may have lost it."""
        self._sent.clear()

    def due(self) -> list[Envelope]:
        """Return signed contributions that are neither acknowledged nor sent on this stream."""
        tombstones = self._journal.tombstones()
        envelopes = []
        for row in self._journal.enrolments():
            key = (row.subject_tag, row.sequence)
            if row.subject_tag in tombstones or row.refusal or row.acked_sequence >= row.sequence:
                continue
            if key in self._sent:
                continue
            self._sent.add(key)
            adapter = self._vault.open_clips(row).adapter(row.subject_tag)
            envelopes.append(self._sign(row.subject_tag, row.sequence, adapter.SerializeToString()))
        return envelopes

    def _sign(self, subject_tag: str, sequence: int, adapter: bytes) -> Envelope:
        fleet_id, node_id = self._enrollment.fleet_id, self._keys.node_id
        contribution = Contribution(
            fleet_id=fleet_id,
            node_id=node_id,
            subject_tag=subject_tag,
            sequence=sequence,
            generation=self._journal.position().generation,
            adapter=sealing.seal(
                self._enrollment.coordinator_sealing_public_key,
                sealing.contribution_purpose(fleet_id, node_id, subject_tag),
                adapter,
            ),
        )
        return signing.sign(self._keys.signing, contribution)

    def acknowledged(self, ack: ContributionAck) -> None:
        """Note that the coordinator has, or has refused, a contribution."""
        with self._journal.transaction():
            self._journal.acknowledge_contribution(ack.subject_tag, ack.sequence, ack.refusal)
