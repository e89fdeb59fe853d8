"""Checks that make a node's claim a verified one.

The node says, signed, what it did and what is active afterwards; the coordinator knows what should be active, since it
built the revision and has every contribution. That no other copy exists stays the node's statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reram_fleet.code_ranges import MAX_SAMPLES
from reram_fleet.crypto.digests import STATEMENT, adapters_digest
from reram_fleet.crypto.signing import SignatureError, open_envelope, payload_hash
from reram_fleet.v1.types_pb2 import (
    RECEIPT_OUTCOME_ERASED,
    RECEIPT_OUTCOME_NOT_AFFECTED,
    Envelope,
    PhaseCost,
    Receipt,
    ReceiptOutcome,
)

from fleet.domain.execution import HeldAtCommit
from fleet.domain.node import out_of_range
from fleet.trust.checks import CheckLine, compare, failures

#: Name of the line on adapters that the coordinator knows nothing of.
UNKNOWN_ADAPTERS = "unknown subject adapters"

_MAX_LISTED = 8


@dataclass(frozen=True)
class ReceiptExpectation:
    """Content that a receipt must have."""

    fleet_id: str
    node_id: str
    campaign_id: str
    generation: int
    #: SHA-256 of the forget command's payload.
    command_hash: bytes
    #: Of the node's last accepted receipt; 0 and 32 zero bytes before the first.
    previous_counter: int
    previous_receipt_hash: bytes
    #: Digest per tag of every subject adapter that must be active.
    active_adapters: Mapping[str, bytes]
    #: Of the revision that the erase order named.
    lora_digest: bytes
    revision_digest: bytes
    challenge_nonce: bytes
    #: In the order of the probes: a tag, or "" for a stranger.
    probe_answers: tuple[str, ...]
    #: Digest per tag of those that may be active besides: people enrolled on this node whom the revision does not have
    #: yet.
    local_adapters: Mapping[str, bytes] = field(default_factory=dict)
    #: Tags that must not be active: of this campaign and of all before it.
    forgotten_tags: frozenset[str] = frozenset()
    head_digest: bytes = b""
    erasers_digest: bytes = b""
    #: How many tags the command names.
    named: int = 0
    #: What the node was known to hold of those at the commit; None if that is not known.
    held: HeldAtCommit | None = None


@dataclass(frozen=True)
class ReceiptVerdict:
    """Every line that was checked."""

    #: What was signed; None if the envelope did not open.
    receipt: Receipt | None
    #: SHA-256 of the signed payload: what the node's next receipt must name.
    receipt_hash: bytes
    lines: tuple[CheckLine, ...]

    @property
    def accepted(self) -> bool:
        """All lines hold."""
        return self.receipt is not None and not self.failures

    @property
    def failures(self) -> tuple[CheckLine, ...]:
        """The lines that do not hold."""
        return failures(self.lines)

    @property
    def not_affected(self) -> bool:
        """The node says that it held nothing of the subject."""
        return self.receipt is not None and self.receipt.outcome == RECEIPT_OUTCOME_NOT_AFFECTED

    @property
    def reason(self) -> str:
        """The failed lines as one text; empty when accepted."""
        return "; ".join(str(line) for line in self.failures)


def check_receipt(envelope: Envelope, public_key: bytes, expectation: ReceiptExpectation) -> ReceiptVerdict:
    """Check a receipt, as received, against what the coordinator recomputed; never raises on what a node may send.

    `public_key` is the node's raw Ed25519 receipt key (32 bytes).
    """
    try:
        receipt = open_envelope(envelope, Receipt, public_key)
    except SignatureError as error:
        line = CheckLine("signature", False, "a receipt signed by the node's receipt key", str(error))
        return ReceiptVerdict(None, payload_hash(envelope), (line,))
    return check_opened(receipt, envelope, expectation)


def check_opened(receipt: Receipt, envelope: Envelope, expectation: ReceiptExpectation) -> ReceiptVerdict:
    """Check a receipt whose signature holds."""
    lines = (
        CheckLine("signature", True, "valid", envelope.key_id[:12]),
        *(
            compare(name.replace("_", " ").removesuffix(" id"), getattr(expectation, name), getattr(receipt, name))
            for name in ("fleet_id", "node_id", "campaign_id", "generation", "command_hash")
        ),
        compare("counter", expectation.previous_counter + 1, receipt.counter),
        compare("previous receipt", expectation.previous_receipt_hash, receipt.previous_receipt_hash),
        *_active(receipt, expectation),
        *_erased(receipt, expectation),
        _spent(receipt),
        compare("challenge nonce", expectation.challenge_nonce, receipt.challenge_nonce),
        compare(
            "probe answers",
            _answers(expectation.probe_answers),
            _answers(tuple(result.subject_tag for result in receipt.probe_results)),
        ),
    )
    return ReceiptVerdict(receipt, payload_hash(envelope), lines)


def _active(receipt: Receipt, expectation: ReceiptExpectation) -> tuple[CheckLine, ...]:
    active = {entry.subject_tag: entry.digest for entry in receipt.active_adapters}
    required, local = expectation.active_adapters, expectation.local_adapters
    missing = sorted(set(required) - set(active))
    unknown = sorted(set(active) - set(required) - set(local))
    differing = sorted(tag for tag, digest in active.items() if digest != required.get(tag, local.get(tag, digest)))
    forgotten = sorted(expectation.forgotten_tags & set(active))
    return (
        compare("subject adapters listed once each", len(active), len(receipt.active_adapters)),
        compare("missing subject adapters", "none", _listed(missing)),
        compare(UNKNOWN_ADAPTERS, "none", _listed(unknown)),
        compare("differing subject adapters", "none", _listed(differing)),
        compare("forgotten subject adapters", "none", _listed(forgotten)),
        compare("shared LoRA digest", expectation.lora_digest, receipt.lora_digest),
        compare("closed-form head digest", expectation.head_digest, receipt.head_digest),
        compare("erasers digest", expectation.erasers_digest, receipt.erasers_digest),
        compare("revision digest", expectation.revision_digest, receipt.revision_digest),
        # Recomputed from the receipt itself: the one digest stands for the list.
        compare(
            "digest of all adapters",
            adapters_digest(receipt.active_adapters, receipt.lora_digest, receipt.head_digest, receipt.erasers_digest),
            receipt.adapters_digest_after,
        ),
    )


def _erased(receipt: Receipt, expectation: ReceiptExpectation) -> tuple[CheckLine, ...]:
    outcomes = (RECEIPT_OUTCOME_ERASED, RECEIPT_OUTCOME_NOT_AFFECTED)
    erased = receipt.subject_adapters_erased + receipt.lora_rows_erased + receipt.code_samples_erased
    known = receipt.outcome in outcomes
    name = ReceiptOutcome.Name(receipt.outcome) if known else f"outcome {receipt.outcome}"
    lines = [
        CheckLine("outcome", known, "erased or not affected", name),
        compare("ReRAM writes", 0, receipt.reram_writes),
        compare("statement", STATEMENT, receipt.statement),
    ]
    if receipt.outcome == RECEIPT_OUTCOME_NOT_AFFECTED:
        lines.append(compare("erased by a node that held nothing", 0, erased))
    else:
        lines.append(CheckLine("erased by a node that held something", erased > 0, "1 or more", str(erased)))
    # Not known of a node that joined after the commit, or was restored from a backup: then 0 or more.
    held, most = expectation.held or HeldAtCommit(0, 0, 0, 0), expectation.named
    lines += [
        _between("subject adapters erased", receipt.subject_adapters_erased, held.subject_adapters, most),
        _between("LoRA rows erased", receipt.lora_rows_erased, held.lora_rows, most),
        _between("captured samples erased", receipt.code_samples_erased, held.samples, most * MAX_SAMPLES),
        _between("keys destroyed", receipt.keys_destroyed, held.keys, None),
    ]
    return tuple(lines)


def _spent(receipt: Receipt) -> CheckLine:
    times = {"suppress_seconds": receipt.suppress_seconds, "erase_seconds": receipt.erase_seconds}
    wrong = out_of_range(times) or next(filter(None, map(_cost_out_of_range, receipt.costs)), "")
    return CheckLine("costs", not wrong, "what a node can have spent", wrong or "within range")


def _cost_out_of_range(cost: PhaseCost) -> str:
    return out_of_range({name: getattr(cost, name) for name in ("energy_j", "seconds", "bytes", "cell_writes")})


def _between(name: str, got: int, least: int, most: int | None) -> CheckLine:
    """Compare a count with what the node was known to hold at the commit, and with what it can have held."""
    expected = f"{least} or more" if most is None else f"{least} to {most}"
    return CheckLine(name, least <= got and (most is None or got <= most), expected, str(got))


def _listed(tags: list[str]) -> str:
    more = f" and {len(tags) - _MAX_LISTED} more" if len(tags) > _MAX_LISTED else ""
    return f"{', '.join(tag[:40] for tag in tags[:_MAX_LISTED]) or 'none'}{more}"


def _answers(tags: tuple[str, ...]) -> str:
    return ", ".join(tag or "stranger" for tag in tags) or "none"
