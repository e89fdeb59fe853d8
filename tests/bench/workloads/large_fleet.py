"""A fleet of thousands of nodes whose rows and receipts are real, without their streams: one forget, step by step.

One node of it runs: it enrols the person who is forgotten. The others are rows, and sign by keys of their own the
receipt of a node that held nothing but what the revision has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.digests import STATEMENT, adapters_digest
from reram_fleet.crypto.signing import payload_hash, sign
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.testing import FEATURES, SteppedCoordinator
from fleet.store import schema
from fleet.store.rows import CampaignRow, ExecutionRow, NodeRow
from tests.device import Device

PERSON = "a" * 32
#: Receipts that are committed together.
TOGETHER = 100


class LargeFleet:
    """The fleet, and the coordinator that tests and benchmarks take from step to step."""

    def __init__(self, folder: Path, nodes: int, database: str | None = "sqlite://") -> None:
        self.coordinator = SteppedCoordinator(folder, database=database)
        first = Device("node-00000")
        self.coordinator.enroll(first)
        first.capture(PERSON, np.arange(3 * FEATURES, dtype=np.int32).reshape(3, FEATURES))
        self.coordinator.converse(first)
        self._keys = {f"node-{number:05}": Ed25519PrivateKey.generate() for number in range(1, nodes)}
        with self.coordinator.transaction() as unit:
            newest = unit.tx.revisions.latest()
            model = unit.tx.nodes.get(first.node_id)
            unit.tx.nodes._insert_all(
                schema.node,
                [
                    {
                        "node_id": node_id,
                        "receipt_public_key": key.public_key().public_bytes_raw(),
                        "sealing_public_key": model.sealing_public_key,
                        "flower_public_key": "",
                        "enrolled_at_ms": unit.tx.now_ms,
                        "last_contact_ms": unit.tx.now_ms,
                        "revision": newest.revision,
                        "revision_digest": newest.digest,
                        "serve_state": model.serve_state,
                        "lease_until_ms": unit.tx.now_ms + 60_000,
                    }
                    for node_id, key in self._keys.items()
                ],
            )
        self._first = first
        for node_id in self._keys:
            self.coordinator.coordinator.env.sessions.open(node_id)

    def commit(self) -> CampaignRow:
        """Commit the forget."""
        campaign, _ = self.coordinator.forget("forget", PERSON)
        return campaign

    def suppress(self, campaign: CampaignRow) -> None:
        """Let every node report that it has the log, and the revision without the person."""
        self.coordinator.converse(self._first)
        with self.coordinator.transaction() as unit:
            entry, newest = unit.tx.log.get(campaign.generation), unit.tx.revisions.latest()
            head = payload_hash(types.Envelope.FromString(entry.envelope))
            for node_id in self._keys:
                unit.tx.nodes.touch(node_id, generation=campaign.generation, log_head=head)
                unit.tx.forgets.suppress(node_id, campaign.generation)
        self.coordinator.converse(self._first)
        with self.coordinator.transaction() as unit:
            newest = unit.tx.revisions.latest()
            for node_id in self._keys:
                unit.tx.nodes.touch(node_id, revision=newest.revision, revision_digest=newest.digest)

    def ordered(self, campaign: CampaignRow) -> Sequence[ExecutionRow]:
        """Return the executions of nodes that have an erase order to answer."""
        with self.coordinator.transaction() as unit:
            return unit.tx.forgets.ordered(self._keys)

    def answer(self, orders: Sequence[ExecutionRow]) -> None:
        """Take the receipts of nodes that were ordered to erase."""
        for start in range(0, len(orders), TOGETHER):
            with self.coordinator.transaction() as unit:
                some = orders[start : start + TOGETHER]
                unit.tx.nodes.prefetch(execution.node_id for execution in some)
                command = types.Envelope.FromString(unit.tx.log.get(some[0].generation).envelope)
                expected = unit.revisions.expected(unit.tx.revisions.latest())
                for execution in some:
                    node = unit.tx.nodes.get(execution.node_id)
                    receipt = _receipt(self.coordinator, node, execution, command, expected)
                    effect = unit.receipts.take(node, sign(self._keys[node.node_id], receipt))
                    assert effect.replies[0].receipt_ack.accepted, effect

    def converge(self, campaign: CampaignRow) -> None:
        """Order every node to erase, and take all receipts."""
        while True:
            self.coordinator.converse(self._first)
            orders = self.ordered(campaign)
            if not orders:
                return
            self.answer(orders)


def _receipt(coordinator, node: NodeRow, execution: ExecutionRow, command: types.Envelope, expected) -> types.Receipt:
    active = [types.AdapterDigest(subject_tag=tag, digest=digest) for tag, digest in expected.subjects.items()]
    erased = execution.held.subject_adapters
    return types.Receipt(
        fleet_id=coordinator.coordinator.env.fleet_id,
        node_id=node.node_id,
        campaign_id=execution.campaign_id,
        generation=execution.generation,
        command_hash=payload_hash(command),
        outcome=types.RECEIPT_OUTCOME_ERASED if erased else types.RECEIPT_OUTCOME_NOT_AFFECTED,
        counter=node.receipt_counter + 1,
        previous_receipt_hash=node.last_receipt_hash,
        adapters_digest_before=bytes(32),
        adapters_digest_after=adapters_digest(active, expected.lora, expected.head),
        active_adapters=active,
        lora_digest=expected.lora,
        head_digest=expected.head,
        revision_digest=node.revision_digest,
        subject_adapters_erased=erased,
        keys_destroyed=execution.held.keys,
        costs=[
            types.PhaseCost(phase=phase, energy_j=1e-6, seconds=1e-3, bytes=4096)
            for phase in (types.ENERGY_PHASE_ERASE, types.ENERGY_PHASE_VERIFY)
        ],
        energy_model=types.EnergyModel(name="model", version="1"),
        challenge_nonce=execution.challenge_nonce,
        probe_results=[types.ProbeResult(subject_tag=tag) for tag in execution.expected_probes],
        suppress_seconds=0.5,
        erase_seconds=0.5,
        finished_at_unix_ms=1,
        software_version="1.0.0",
        statement=STATEMENT,
    )
