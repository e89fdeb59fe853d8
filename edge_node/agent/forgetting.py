"""Forgets as this node carries them out: suppress at once, erase when ordered, sign the receipt last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version

import torch
from reram_fleet.crypto import digests, signing
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import EraseOrder, Probe, ReceiptAck

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.context import NodeContext, phase_costs
from edge_node.agent.forget_log import LogEntry
from edge_node.errors import AdapterError, EraseRefusedError
from edge_node.storage.erasure import Eraser
from edge_node.storage.journal_schema import ErasureRow, ForgetRow, ReceiptRow, ReceiptState
from hwmodel import LedgerMark, Phase

logger = logging.getLogger(__name__)

SOFTWARE_VERSION = version("reram-fleet")


class Forgetting:
    """Suppression, erasure and receipts of one node."""

    def __init__(self, context: NodeContext, adapters: ActiveAdapters, eraser: Eraser) -> None:
        self._context, self._adapters, self._eraser = context, adapters, eraser
        self._journal, self._meter, self._clock = context.journal, context.meter, context.clock
        # By hash of an entry that is carried out in SRAM, and that the journal could not note: what was held.
        self._unnoted: dict[bytes, tuple[bytes, int, int]] = {}

    def suppress(self, entry: LogEntry, mark: LedgerMark) -> None:
        """Take one log entry: out of SRAM, into the journal with what was held; durable on return."""
        begun_s = self._clock.boottime_s()
        tags = set(entry.command.subject_tags)
        held, lora = self._adapters.tags, self._adapters.lora
        there = len(tags.intersection(held)), sum(row.subject_tag in tags for row in lora.rows)
        digest_before, subject_adapters, lora_rows = self._unnoted.setdefault(
            entry.payload_hash, (self._adapters.digests.all, *there)
        )
        # Out of SRAM first: should the journal then fail, the node has forgotten too early, never too late. The receipt
        # says nevertheless what was held.
        self._adapters.drop(tags)
        row = ForgetRow(
            generation=entry.command.generation,
            campaign_id=entry.command.campaign_id,
            envelope=entry.envelope.SerializeToString(),
            payload_hash=entry.payload_hash,
            digest_before=digest_before,
            subject_adapters=subject_adapters,
            lora_rows=lora_rows,
            code_samples=sum(samples for tag, samples in self._journal.enrolled().items() if tag in tags),
            suppress_seconds=self._clock.boottime_s() - begun_s,
        )
        with self._journal.transaction():
            self._journal.append_forget(row, tags)
            self._journal.add_forget_cost(row.generation, self._meter.since(mark))
            self._meter.save()
        self._unnoted.pop(entry.payload_hash, None)
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
            forget, tags = self._check(order)
            return self._erase_and_sign(order, forget, tags, mark)
        except (EraseRefusedError, AdapterError) as error:
            # The coordinator orders again as long as there is no receipt.
            logger.warning("did not erase: %s", error)
            return None

    def _check(self, order: EraseOrder) -> tuple[ForgetRow, list[str]]:
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
        if wrong := [len(probe.codes) for probe in order.probes if len(probe.codes) != self._context.engine.features]:
            raise EraseRefusedError(f"a probe has {wrong[0]} codes, expected {self._context.engine.features}")
        return forget, list(command.subject_tags)

    def _erase_and_sign(
        self, order: EraseOrder, forget: ForgetRow, tags: Sequence[str], mark: LedgerMark
    ) -> ReceiptRow:
        begun_s = self._clock.boottime_s()
        erasure = self._eraser.erase(order.generation, tags)
        probe_tags = self._answer(order.probes)
        with self._journal.transaction():
            self._journal.add_forget_cost(order.generation, self._meter.since(mark))
            receipt = self._receipt(order, forget, erasure, probe_tags, begun_s)
            envelope = signing.sign(self._context.keys.signing, receipt)
            row = ReceiptRow(
                counter=receipt.counter,
                generation=order.generation,
                challenge_nonce=order.challenge_nonce,
                envelope=envelope.SerializeToString(),
                state=ReceiptState.PENDING,
            )
            self._journal.append_receipt(row, signing.payload_hash(envelope))
            self._meter.save()
        logger.info("erased generation %d; receipt %d", order.generation, receipt.counter)
        return row

    def _answer(self, probes: Sequence[Probe]) -> list[str]:
        if not probes:
            return []
        codes = torch.tensor([[list(probe.codes) for probe in probes]], dtype=torch.int32)
        answers = self._context.engine.identify(codes, Phase.VERIFY, [self._context.node_index])
        return [
            tag if accepted else ""
            for tag, accepted in zip(answers.best_tag[0], answers.accepted[0].tolist(), strict=True)
        ]

    def _receipt(
        self, order: EraseOrder, forget: ForgetRow, erasure: ErasureRow, probe_tags: Sequence[str], begun_s: float
    ) -> types.Receipt:
        """Return the receipt of one forget on this node, next in the node's chain.

        The outcome is NOT_AFFECTED only if the node held nothing of those named: neither when it suppressed them nor
        when it erased.
        """
        position, active = self._journal.position(), self._journal.active_revision()
        costs, active_digests = self._journal.forget_costs(order.generation), self._adapters.digests
        affected = forget.subject_adapters or forget.lora_rows or forget.code_samples or erasure.subject_keys
        return types.Receipt(
            fleet_id=self._context.fleet_id,
            node_id=self._context.node_id,
            campaign_id=forget.campaign_id,
            generation=forget.generation,
            command_hash=forget.payload_hash,
            outcome=types.RECEIPT_OUTCOME_ERASED if affected else types.RECEIPT_OUTCOME_NOT_AFFECTED,
            counter=position.receipt_counter + 1,
            previous_receipt_hash=position.last_receipt_hash,
            adapters_digest_before=forget.digest_before,
            adapters_digest_after=active_digests.all,
            active_adapters=active_digests.subjects,
            lora_digest=active_digests.lora,
            head_digest=active_digests.head,
            erasers_digest=active_digests.erasers,
            revision_digest=active.digest if active else b"",
            subject_adapters_erased=forget.subject_adapters,
            lora_rows_erased=forget.lora_rows,
            code_samples_erased=forget.code_samples,
            keys_destroyed=len(erasure.subject_keys) + len(erasure.revision_keys),
            costs=phase_costs(costs),
            energy_model=self._context.energy_model,
            reram_writes=sum(cost.cell_writes for cost in costs.values()),
            challenge_nonce=order.challenge_nonce,
            probe_results=[types.ProbeResult(subject_tag=tag) for tag in probe_tags],
            suppress_seconds=forget.suppress_seconds,
            erase_seconds=self._clock.boottime_s() - begun_s,
            finished_at_unix_ms=self._clock.unix_ms(),
            software_version=SOFTWARE_VERSION,
            statement=digests.STATEMENT,
        )

    def judged(self, ack: ReceiptAck) -> bool:
        """Note what the coordinator said of a receipt; False if it has just refused it."""
        good = True
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
                good = False
        return good
