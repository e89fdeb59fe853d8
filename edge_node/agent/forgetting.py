"""Carrying out a forget on this node: suppress at once, erase when ordered, sign the receipt last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from reram_fleet.crypto import digests, signing
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import EraseOrder, Probe, ReceiptAck

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.clock import Clock
from edge_node.agent.forget_log import LogEntry
from edge_node.agent.meter import NODE_INDEX, Meter
from edge_node.agent.node_engine import NodeEngine
from edge_node.agent.receipts import Evidence, build_receipt
from edge_node.errors import AdapterError, EraseRefusedError
from edge_node.storage.erasure import Eraser
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ForgetRow, ReceiptRow, ReceiptState, RevisionRow
from edge_node.storage.keys import NodeKeys
from hwmodel import LedgerMark, Phase

logger = logging.getLogger(__name__)


class Forgetting:
    """Suppression, erasure and receipts of one node."""

    def __init__(
        self,
        *,
        fleet_id: str,
        keys: NodeKeys,
        journal: Journal,
        engine: NodeEngine,
        adapters: ActiveAdapters,
        eraser: Eraser,
        meter: Meter,
        energy_model: types.EnergyModel,
        clock: Clock,
        on_step: Callable[[str], None],
    ) -> None:
        self._fleet_id, self._keys, self._journal, self._engine = fleet_id, keys, journal, engine
        self._adapters, self._eraser, self._meter = adapters, eraser, meter
        self._energy_model, self._clock, self._on_step = energy_model, clock, on_step

    def suppress(self, entry: LogEntry, mark: LedgerMark) -> None:
        """Take one log entry: out of SRAM, into the journal with what was held; durable on return."""
        begun_s = self._clock.boottime_s()
        tags = set(entry.command.subject_tags)
        digest_before, subjects, lora = self._adapters.digest, self._adapters.subjects, self._adapters.lora
        # Out of SRAM first: should the journal then fail, the node has forgotten too early, never too late.
        self._adapters.drop(tags)
        row = ForgetRow(
            generation=entry.command.generation,
            campaign_id=entry.command.campaign_id,
            envelope=entry.envelope.SerializeToString(),
            payload_hash=entry.payload_hash,
            digest_before=digest_before,
            subject_adapters=sum(subject.subject_tag in tags for subject in subjects),
            lora_rows=sum(row.subject_tag in tags for row in lora.rows),
            code_samples=sum(row.samples for row in self._journal.enrolments() if row.subject_tag in tags),
            suppress_seconds=self._clock.boottime_s() - begun_s,
        )
        with self._journal.transaction():
            self._journal.append_forget(row, tags)
            self._journal.add_forget_cost(row.generation, self._meter.since(mark))
            self._meter.save()
        logger.info("suppressed generation %d of campaign %s", row.generation, row.campaign_id)

    def erase(self, order: EraseOrder, mark: LedgerMark) -> ReceiptRow | None:
        """Carry out an erase order and return its receipt; None if it cannot be carried out (yet).

        A repeated order gets the receipt that there is. Another challenge gets another receipt, also when the
        coordinator had accepted one: it asks again after this node went back to a backup.
        """
        for row in self._journal.receipts(order.generation):
            if row.challenge_nonce == order.challenge_nonce:
                return row
        try:
            forget, active, tags = self._check(order)
            return self._erase_and_sign(order, forget, active, tags, mark)
        except (EraseRefusedError, AdapterError) as error:
            # The coordinator orders again as long as there is no receipt.
            logger.warning("did not erase: %s", error)
            return None

    def _check(self, order: EraseOrder) -> tuple[ForgetRow, RevisionRow | None, list[str]]:
        forget, active = self._journal.forget(order.generation), self._journal.active_revision()
        if forget is None or forget.campaign_id != order.campaign_id:
            raise EraseRefusedError(f"generation {order.generation} is not suppressed for that campaign")
        number = active.revision if active else 0
        if order.revision != number:
            raise EraseRefusedError(
                f"generation {order.generation} is to be erased at revision {order.revision}, "
                f"but revision {number} is active"
            )
        command = types.ForgetCommand.FromString(types.Envelope.FromString(forget.envelope).payload)
        if active:
            manifest = types.RevisionManifest.FromString(types.Envelope.FromString(active.manifest).payload)
            if set(manifest.subject_tags) & set(command.subject_tags):
                raise EraseRefusedError(f"revision {number} still holds tags of generation {order.generation}")
        if wrong := [len(probe.codes) for probe in order.probes if len(probe.codes) != self._engine.features]:
            raise EraseRefusedError(f"a probe has {wrong[0]} codes, expected {self._engine.features}")
        return forget, active, list(command.subject_tags)

    def _erase_and_sign(
        self, order: EraseOrder, forget: ForgetRow, active: RevisionRow | None, tags: Sequence[str], mark: LedgerMark
    ) -> ReceiptRow:
        begun_s = self._clock.boottime_s()
        self._on_step("ordered")
        erasure = self._eraser.erase(order.generation, tags)
        probe_tags = self._answer(order.probes)
        self._on_step("probed")
        with self._journal.transaction():
            self._journal.add_forget_cost(order.generation, self._meter.since(mark))
            receipt = build_receipt(
                fleet_id=self._fleet_id,
                node_id=self._keys.node_id,
                forget=forget,
                erasure=erasure,
                order=order,
                position=self._journal.position(),
                evidence=Evidence(
                    active_adapters=digests.subject_digests(self._adapters.subjects),
                    lora_digest=digests.lora_digest(self._adapters.lora),
                    head_digest=digests.head_digest(self._adapters.head),
                    revision_digest=active.digest if active else b"",
                    probe_tags=probe_tags,
                    costs=self._journal.forget_costs(order.generation),
                    energy_model=self._energy_model,
                    erase_seconds=self._clock.boottime_s() - begun_s,
                ),
                unix_ms=self._clock.unix_ms(),
            )
            envelope = signing.sign(self._keys.signing, receipt)
            row = ReceiptRow(
                counter=receipt.counter,
                generation=order.generation,
                challenge_nonce=order.challenge_nonce,
                envelope=envelope.SerializeToString(),
                state=ReceiptState.PENDING,
            )
            self._journal.append_receipt(row, signing.payload_hash(envelope))
            self._meter.save()
        self._on_step("receipt-signed")
        logger.info("erased generation %d; receipt %d", order.generation, receipt.counter)
        return row

    def _answer(self, probes: Sequence[Probe]) -> list[str]:
        if not probes:
            return []
        codes = torch.tensor([[list(probe.codes) for probe in probes]], dtype=torch.int32)
        answers = self._engine.identify(codes, Phase.VERIFY)
        return [
            tag if accepted else ""
            for tag, accepted in zip(answers.best_tag[NODE_INDEX], answers.accepted[NODE_INDEX].tolist(), strict=True)
        ]

    def judged(self, ack: ReceiptAck) -> bool:
        """Note what the coordinator said of a receipt; False if it has just refused it."""
        standing = True
        for row in self._journal.receipts(ack.generation):
            envelope = types.Envelope.FromString(row.envelope)
            if signing.payload_hash(envelope) != ack.receipt_hash:
                continue
            with self._journal.transaction():
                self._journal.judge_receipt(row.counter, ack.accepted)
            if ack.accepted:
                self._eraser.drop_superseded()
            elif row.state == ReceiptState.PENDING:
                logger.warning("the receipt of generation %d was refused: %s", ack.generation, ack.reason)
                standing = False
        return standing
