"""Contributions of this node to the fleet: integer sums over captured codes, and public codes when asked.

A person's code sum is their subject adapter; with their Gram matrix it is what the closed-form head is solved from.
Both are sealed to the coordinator.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from reram_fleet.crypto import sealing, signing
from reram_fleet.v1.node_pb2 import Contribution, ContributionAck, KnownContribution, PublicCodes
from reram_fleet.v1.types_pb2 import Envelope

from edge_node.agent.context import NodeContext
from edge_node.storage.journal_schema import EnrolmentRow

logger = logging.getLogger(__name__)

_INT16_LIMIT = 1 << 15


class Contributions:
    """Enrolments that the coordinator has not acknowledged, sent until it has.

    Nothing sealed to the coordinator is stored: it is made from the sealed codes whenever it is sent, so that
    destroying their key leaves no copy that this node could not erase.
    """

    def __init__(self, context: NodeContext) -> None:
        self._context, self._journal = context, context.journal
        self._sent: set[tuple[str, int]] = set()

    def reconnected(self) -> None:
        """Forget what was sent: it may have been lost with an old stream, or not been taken."""
        self._sent.clear()

    def known(self, contributions: Iterable[KnownContribution]) -> None:
        """Note what the coordinator has, and nothing else: it went back to a backup."""
        with self._journal.transaction():
            self._journal.acknowledge_only({known.subject_tag: known.sequence for known in contributions})
        self.reconnected()

    def due(self) -> list[Envelope]:
        """Return signed contributions that are neither acknowledged nor sent since `reconnected`."""
        due = [row for row in self._journal.unacknowledged() if (row.subject_tag, row.sequence) not in self._sent]
        self._sent.update((row.subject_tag, row.sequence) for row in due)
        return [self._sealed(row) for row in due]

    def _sealed(self, row: EnrolmentRow) -> Envelope:
        samples, recognition = self._context.cipher.open_samples(row), self._context.recognition
        about = (self._context.fleet_id, self._context.node_id, row.subject_tag)
        receiver = self._context.enrollment.coordinator_sealing_public_key
        adapter = samples.adapter(row.subject_tag).SerializeToString()
        contribution = Contribution(
            fleet_id=self._context.fleet_id,
            node_id=self._context.node_id,
            subject_tag=row.subject_tag,
            sequence=row.sequence,
            generation=self._journal.position().generation,
            adapter=self._context.randomness.seal(receiver, sealing.contribution_purpose(*about), adapter),
            ticket=Envelope.FromString(row.ticket),
        )
        if recognition is not None and self._context.for_head:
            statistics = recognition.head_statistics(self._context.node_index, torch.from_numpy(samples.codes))
            sealed = self._context.randomness.seal(receiver, sealing.statistics_purpose(*about), statistics)
            contribution.statistics.CopyFrom(sealed)
        return signing.sign(self._context.keys.signing, contribution)

    def public_codes(self) -> Envelope | None:
        """Return what this chip made of the public samples when it was last calibrated, signed.

        None if this node's adapters have no use for a head.
        """
        if self._context.recognition is None:
            return None
        codes, person = self._context.recognition.public_codes(self._context.node_index)
        width = 2 if int(codes.abs().max()) < _INT16_LIMIT else 4
        message = PublicCodes(
            fleet_id=self._context.fleet_id,
            node_id=self._context.node_id,
            features=codes.shape[1],
            person=person.tolist(),
            bytes_per_code=width,
            codes=codes.numpy().astype(np.dtype(f"<i{width}")).tobytes(),
        )
        return signing.sign(self._context.keys.signing, message)

    def acknowledged(self, ack: ContributionAck) -> None:
        """Note that the coordinator has, or has refused, a contribution."""
        with self._journal.transaction():
            self._journal.acknowledge_contribution(ack.subject_tag, ack.sequence, ack.refusal)
        if ack.refusal:
            logger.warning(
                "the coordinator has refused what was enrolled of %s, who is not recognised: %s",
                *(ack.subject_tag, ack.refusal),
            )
