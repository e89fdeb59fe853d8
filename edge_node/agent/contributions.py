"""Contributions of this node to the fleet: integer sums over captured codes, and public codes when asked.

A person's code sum is their subject adapter; with their Gram matrix it is what the closed-form head is solved
from. Both are sealed to the coordinator.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from reram_fleet.crypto import sealing, signing
from reram_fleet.v1.node_pb2 import Contribution, ContributionAck, PublicCodes
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import Envelope

from edge_node.agent.meter import NODE_INDEX
from edge_node.agent.node_engine import NodeEngine
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import EnrolmentRow
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher

logger = logging.getLogger(__name__)

_INT16_LIMIT = 1 << 15


class Contributions:
    """The outbox: enrolments that the coordinator has not acknowledged.

    Nothing sealed to the coordinator is stored: it is made from the sealed codes whenever it is sent, so that
    destroying their key leaves no copy that this node could not erase.
    """

    def __init__(
        self, keys: NodeKeys, enrollment: EnrollNodeResponse, journal: Journal, cipher: RecordCipher, engine: NodeEngine
    ) -> None:
        self._keys, self._enrollment, self._journal, self._cipher = keys, enrollment, journal, cipher
        self._engine = engine
        self._sent: set[tuple[str, int]] = set()

    def reconnected(self) -> None:
        """Forget what was sent: it may have been lost with an old stream, or not been taken."""
        self._sent.clear()

    def due(self) -> list[Envelope]:
        """Return signed contributions that are neither acknowledged nor sent since `reconnected`."""
        tombstones = self._journal.tombstones()
        envelopes = []
        for row in self._journal.enrolments():
            key = (row.subject_tag, row.sequence)
            if row.subject_tag in tombstones or row.refusal or row.acked_sequence >= row.sequence:
                continue
            if key in self._sent:
                continue
            self._sent.add(key)
            samples = self._cipher.open_samples(row)
            adapter = samples.adapter(row.subject_tag).SerializeToString()
            statistics = self._engine.head_statistics(NODE_INDEX, torch.from_numpy(samples.codes))
            envelopes.append(self._sign(row, adapter, statistics))
        return envelopes

    def _sign(self, row: EnrolmentRow, adapter: bytes, statistics: bytes) -> Envelope:
        fleet_id, node_id = self._enrollment.fleet_id, self._keys.node_id
        receiver = self._enrollment.coordinator_sealing_public_key
        about = (fleet_id, node_id, row.subject_tag)
        contribution = Contribution(
            fleet_id=fleet_id,
            node_id=node_id,
            subject_tag=row.subject_tag,
            sequence=row.sequence,
            generation=self._journal.position().generation,
            adapter=sealing.seal(receiver, sealing.contribution_purpose(*about), adapter),
            ticket=Envelope.FromString(row.ticket),
        )
        if statistics:
            purpose = sealing.statistics_purpose(*about)
            contribution.statistics.CopyFrom(sealing.seal(receiver, purpose, statistics))
        return signing.sign(self._keys.signing, contribution)

    def public_codes(self) -> Envelope | None:
        """Return what this chip makes of the public samples, signed; the same whenever it is asked for.

        None if this node's adapters have no use for a head.
        """
        codes, person = self._engine.public_codes(NODE_INDEX)
        if not len(codes):
            return None
        width = 2 if int(codes.abs().max()) < _INT16_LIMIT else 4
        message = PublicCodes(
            fleet_id=self._enrollment.fleet_id,
            node_id=self._keys.node_id,
            features=codes.shape[1],
            person=person.tolist(),
            bytes_per_code=width,
            codes=codes.numpy().astype(np.dtype(f"<i{width}")).tobytes(),
        )
        return signing.sign(self._keys.signing, message)

    def acknowledged(self, ack: ContributionAck) -> None:
        """Note that the coordinator has, or has refused, a contribution."""
        with self._journal.transaction():
            self._journal.acknowledge_contribution(ack.subject_tag, ack.sequence, ack.refusal)
        if ack.refusal:
            logger.warning(
                "the coordinator has refused what was enrolled of %s, who is not recognised: %s",
                *(ack.subject_tag, ack.refusal),
            )
