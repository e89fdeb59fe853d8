"""Receipts of nodes: judged, logged, and refused with a reason."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import replace

from reram_fleet.crypto.digests import subject_digest
from reram_fleet.crypto.signing import open_envelope, payload_hash
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.report_checks import Effect, QuarantineError, ReportError
from fleet.coordinator.nodes.restored import Restored
from fleet.coordinator.revisions.contributions import Contributions
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.wire_enums import ENERGY_PHASE
from fleet.coordinator.work import Part, Work
from fleet.domain.execution import TERMINAL, ExecutionState, HeldAtCommit
from fleet.domain.tallies import ReceiptOutcome, Tally
from fleet.errors import NotFoundError
from fleet.store.rows import CampaignRow, ExecutionRow, NodeCostRow, NodeRow, ReceiptRow
from fleet.trust.checks import checks_digest
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import leaf_hash
from fleet.trust.receipts import UNKNOWN_ADAPTERS, ReceiptExpectation, ReceiptVerdict, check_opened

logger = logging.getLogger(__name__)

#: Of a receipt without the list of active adapters, and of one of these. It is kept and shown as it came.
_RECEIPT_BYTES = 64 * 1024
_ENTRY_BYTES = 128
#: Of the name and the version of an energy model, as it is shown.
_NAME_LENGTH = 64
#: Between the order and the judgement: the receipt as the node's claim.
_CLAIMED = (ExecutionState.APPLIED, "receipt")
_UNHEARD = "it names people whom the node has not contributed"


class Receipts(Part):
    """Judgement of receipts, and what it changes."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._contributions = work.part(Contributions)
        self._restored = work.part(Restored)
        self._revisions = work.part(Revisions)

    def take(self, node: NodeRow, envelope: types.Envelope) -> Effect:
        """Judge a node's receipt, and acknowledge it.

        Raises `SignatureError` if the node has not signed it; `ReportError` if nobody asked for it, or its challenge
        was answered already; `QuarantineError` if it is larger than any receipt.
        """
        receipt = open_envelope(envelope, types.Receipt, node.receipt_public_key)
        try:
            campaign = self._tx.forgets.get(receipt.campaign_id)
            execution = self._tx.forgets.execution(receipt.campaign_id, node.node_id)
        except NotFoundError as error:
            if node.awaited_since_ms is not None:
                # The forget was lost with a restore; the node brings it back, and sends this again when it reconnects.
                return Effect()
            raise ReportError(f"node {node.node_id} sent a receipt for no order of ours: {error}") from error
        leaf = leaf_data(LeafKind.RECEIPT, envelope)
        if receipt.challenge_nonce not in execution.open_challenges:
            if self._tx.tree.find(leaf_hash(leaf)) is not None:
                # Again: the acknowledgement was lost.
                return _answer(envelope, receipt, *_judgement(execution, envelope), changed=False)
            return self._unsolicited(node, execution, envelope, receipt)
        named = {entry.subject_tag for entry in receipt.active_adapters}
        expectation = self._expected(node, campaign, execution, named)
        people = len(expectation.active_adapters) + len(expectation.local_adapters)
        if len(envelope.payload) > (most := _RECEIPT_BYTES + _ENTRY_BYTES * people):
            raise QuarantineError(f"a receipt of {len(envelope.payload)} bytes: one of {people} people has {most}")
        # Whatever becomes of this one, it is logged, and the node's next receipt names it.
        self._tx.tree.append(LeafKind.RECEIPT, leaf, new=True)
        if receipt.counter > node.receipt_counter:
            self._tx.nodes.accept_receipt(node.node_id, receipt.counter, payload_hash(envelope))
        answered = receipt.challenge_nonce
        if answered != execution.challenge_nonce:
            self._tx.forgets.close_challenge(campaign.campaign_id, node.node_id, answered)
            # Of an order that was since replaced: neither accepted nor held against the node.
            follows = (receipt.counter - 1, receipt.previous_receipt_hash)
            if follows != (node.receipt_counter, node.last_receipt_hash):
                logger.warning("node %s goes on from an older receipt: restored from a backup", node.node_id)
                self._restored.start_over(node, receipt.counter, payload_hash(envelope))
                self._restored.note_suppressed(node.node_id, node.generation)
            self._count(ReceiptOutcome.EARLIER_ORDER)
            return _answer(envelope, receipt, ExecutionState.SUPPRESSED, "it answers an earlier order")
        if execution.state not in (ExecutionState.APPLYING, ExecutionState.SUPPRESSED):
            raise _another(receipt, execution)
        verdict = check_opened(receipt, envelope, expectation)
        key = (campaign.campaign_id, node.node_id)
        if verdict.accepted:
            target = ExecutionState.NOT_AFFECTED if verdict.not_affected else ExecutionState.VERIFIED
            self._tx.forgets.set_execution(
                *key,
                target,
                receipt=envelope.SerializeToString(),
                checks=verdict.lines,
                via=_CLAIMED,
                answered=answered,
            )
            self._keep_figures(receipt, verdict)
            self._count(ReceiptOutcome(target))
            return _answer(envelope, receipt, target, verdict.reason)
        self._tx.forgets.close_challenge(*key, answered)
        if again := self._worth_another(receipt, verdict, *key):
            # True when it was signed, perhaps; ask again, over what is desired now.
            self._tx.forgets.set_execution(*key, ExecutionState.SUPPRESSED, again)
            self._count(ReceiptOutcome.OVERTAKEN)
            return _answer(envelope, receipt, ExecutionState.SUPPRESSED, f"{again}: another order follows")
        self._tx.forgets.set_execution(
            *key,
            ExecutionState.HELD,
            verdict.reason,
            receipt=envelope.SerializeToString(),
            checks=verdict.lines,
            via=_CLAIMED,
        )
        self._tx.nodes.hold(node.node_id, f"receipt of generation {receipt.generation}: {verdict.reason}")
        self._count(ReceiptOutcome.HELD)
        logger.error("node %s is held: %s", node.node_id, verdict.reason)
        return _answer(envelope, receipt, ExecutionState.HELD, verdict.reason)

    def _keep_figures(self, receipt: types.Receipt, verdict: ReceiptVerdict) -> None:
        """Keep what an accepted receipt adds to the sums of its forget, and what its certificate names."""
        figures = ReceiptRow(
            campaign_id=receipt.campaign_id,
            node_id=receipt.node_id,
            payload_hash=verdict.receipt_hash,
            checks_digest=checks_digest(verdict.lines),
            subject_adapters_erased=receipt.subject_adapters_erased,
            lora_rows_erased=receipt.lora_rows_erased,
            code_samples_erased=receipt.code_samples_erased,
            reram_writes=receipt.reram_writes,
            energy_model_name=receipt.energy_model.name[:_NAME_LENGTH],
            energy_model_version=receipt.energy_model.version[:_NAME_LENGTH],
        )
        costs = {
            phase: NodeCostRow(receipt.node_id, phase, each.energy_j, each.seconds, each.bytes, each.cell_writes)
            for each in receipt.costs
            if (phase := ENERGY_PHASE.words.get(each.phase)) is not None
        }
        self._tx.receipts.keep(figures, costs.values())
        for phase, cost in costs.items():
            self._tx.tallies.add(Tally.FORGET_JOULES, phase, cost.energy_j)
            self._tx.tallies.add(Tally.FORGET_CELL_WRITES, phase, cost.cell_writes)

    def _count(self, outcome: ReceiptOutcome) -> None:
        self._tx.tallies.add(Tally.RECEIPTS, outcome)

    def _unsolicited(
        self, node: NodeRow, execution: ExecutionRow, envelope: types.Envelope, receipt: types.Receipt
    ) -> Effect:
        """Refuse a receipt that answers no open order; it leaves no trace, since any number of them may come."""
        if receipt.challenge_nonce and receipt.challenge_nonce == execution.challenge_nonce:
            raise _another(receipt, execution)
        self._count(ReceiptOutcome.UNSOLICITED)
        logger.warning("node %s sent a receipt of generation %d unasked", node.node_id, receipt.generation)
        if (receipt.counter - 1, receipt.previous_receipt_hash) == (node.receipt_counter, node.last_receipt_hash):
            # Of an order too old to be remembered, perhaps: the node's next receipt goes on from this one.
            self._tx.nodes.accept_receipt(node.node_id, receipt.counter, payload_hash(envelope))
        return _answer(envelope, receipt, ExecutionState.SUPPRESSED, "it answers no order that is open", changed=False)

    def _worth_another(self, receipt: types.Receipt, verdict: ReceiptVerdict, campaign_id: str, node_id: str) -> str:
        """Return why a receipt that does not hold may be an honest node's, and is asked for again; or ""."""
        if self._tx.fleet.awaited():
            return "the coordinator was restored meanwhile"
        newest = self._revisions.settled()
        if self._tx.revisions.latest() is not None and (newest is None or newest.digest != receipt.revision_digest):
            return "overtaken by a newer revision"
        # Once: a node hears that a contribution is refused only after a receipt that it has signed meanwhile.
        unheard = [line.name for line in verdict.failures] == [UNKNOWN_ADAPTERS]
        if unheard and all(event.detail != _UNHEARD for event in self._tx.forgets.events(campaign_id, node_id)):
            return _UNHEARD
        return ""

    def _expected(
        self, node: NodeRow, campaign: CampaignRow, execution: ExecutionRow, named: Set[str]
    ) -> ReceiptExpectation:
        """Return what this node's receipt, which names some people, must say: recomputed from what is held here."""
        newest = self._tx.revisions.latest()
        expected = self._revisions.expected(newest)
        local, others = {}, named - expected.subjects.keys()
        if others:
            mine = [row for row in self._tx.subjects.contributions_of(node.node_id) if row.tag in others]
            local = {row.tag: subject_digest(adapter) for row, adapter in self._contributions.opened(mine)}
        return ReceiptExpectation(
            fleet_id=self._env.fleet_id,
            node_id=node.node_id,
            campaign_id=campaign.campaign_id,
            generation=campaign.generation,
            command_hash=payload_hash(types.Envelope.FromString(self._tx.log.get(campaign.generation).envelope)),
            previous_counter=node.receipt_counter,
            previous_receipt_hash=node.last_receipt_hash,
            active_adapters=expected.subjects,
            local_adapters=local,
            # Whoever is expected is enrolled.
            forgotten_tags=self._tx.subjects.forgotten_among(others - local.keys()),
            lora_digest=expected.lora,
            head_digest=expected.head,
            erasers_digest=expected.erasers,
            revision_digest=b"" if newest is None else newest.digest,
            challenge_nonce=execution.challenge_nonce or b"",
            probe_answers=tuple(execution.expected_probes or ()),
            named=len(campaign.tags),
            held=self._held(campaign, execution),
        )

    def _held(self, campaign: CampaignRow, execution: ExecutionRow) -> HeldAtCommit | None:
        held = execution.held
        if held is not None and any(len(self._tx.forgets.by_tag(tag)) > 1 for tag in campaign.tags):
            # The order of another forget of the same person may have destroyed the key before.
            return replace(held, keys=0)
        return held


def _another(receipt: types.Receipt, execution: ExecutionRow) -> ReportError:
    return ReportError(
        f"node {execution.node_id} sent another receipt for generation {receipt.generation}, "
        f"whose execution is {execution.state}"
    )


def _judgement(execution: ExecutionRow, envelope: types.Envelope) -> tuple[ExecutionState, str]:
    """Return what became of a receipt that has come before."""
    stored = execution.receipt
    if stored is not None and payload_hash(types.Envelope.FromString(stored)) == payload_hash(envelope):
        return execution.state, execution.detail
    return ExecutionState.SUPPRESSED, "another receipt has taken, or will take, its place"


def _answer(
    envelope: types.Envelope, receipt: types.Receipt, state: ExecutionState, reason: str, *, changed: bool = True
) -> Effect:
    ack = wire.ReceiptAck(
        generation=receipt.generation, receipt_hash=payload_hash(envelope), accepted=state in TERMINAL, reason=reason
    )
    return Effect((wire.ConnectResponse(receipt_ack=ack),), changed)
