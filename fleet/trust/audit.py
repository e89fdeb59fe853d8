"""Offline check of a certificate, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from google.protobuf.message import DecodeError
from reram_fleet.crypto.digests import STATEMENT, adapters_digest
from reram_fleet.crypto.signing import SignatureError, open_envelope, payload_hash
from reram_fleet.v1.types_pb2 import (
    AUDIT_EVENT_KIND_NODE_ENROLLED,
    AUDIT_EVENT_KIND_NODE_LOST,
    AUDIT_EVENT_KIND_NODE_RETIRED,
    AUDIT_EVENT_KIND_UNSPECIFIED,
    RECEIPT_OUTCOME_ERASED,
    RECEIPT_OUTCOME_NOT_AFFECTED,
    AuditEvent,
    AuditEventKind,
    Envelope,
    ForgetCommand,
    Receipt,
)

from fleet.domain.execution import EXCEPTED, SUCCESS, ExecutionState
from fleet.errors import ProofError
from fleet.trust.certificate import Certificate, NodeEvidence, read_certificate
from fleet.trust.checks import CheckLine, compare, failures
from fleet.trust.leaves import LeafKind, leaf_data, nodes_root
from fleet.trust.merkle import InclusionProof, leaf_hash, verify_inclusion
from fleet.trust.verdicts import verdict_lines

_OUTCOMES = {ExecutionState.VERIFIED: RECEIPT_OUTCOME_ERASED, ExecutionState.NOT_AFFECTED: RECEIPT_OUTCOME_NOT_AFFECTED}

#: Every state of `EXCEPTED`.
_DECIDED_BY = {ExecutionState.RETIRED: AUDIT_EVENT_KIND_NODE_RETIRED, ExecutionState.LOST: AUDIT_EVENT_KIND_NODE_LOST}


def verify_certificate(text: str, public_key: bytes) -> list[CheckLine]:
    """Check everything in a certificate that can be checked without the fleet.

    `CertificateError` if this is no certificate.

    The certificate holds if all lines do; if the coordinator's signature does not, it is the only line. `text` is the
    JSON of `fleet.trust.certificate.build_certificate`, `public_key` the coordinator's raw Ed25519 command key (32
    bytes), from a source other than the certificate.
    """
    signed, content = read_certificate(text, public_key)
    if not signed.holds:
        return [signed]
    lines = [signed]
    try:
        command = open_envelope(content.command, ForgetCommand, public_key)
    except SignatureError as error:
        lines.append(CheckLine("command", False, "signed by the coordinator", str(error)))
    else:
        lines += [*_command(content, command), *_node_set(content, command)]
    for node in content.nodes:
        lines += [*_node(content, node), *_decisions(content, node, public_key)]
    return [*lines, *verdict_lines(content)]


def needed_events(state: ExecutionState, *, joined: bool) -> tuple[AuditEventKind, ...]:
    """Return the kinds of logged decision without which a node may not stand in a certificate like this."""
    kinds = [] if state not in EXCEPTED else [_DECIDED_BY[state]]
    return (*([AUDIT_EVENT_KIND_NODE_ENROLLED] if joined else []), *kinds)


def _command(content: Certificate, command: ForgetCommand) -> Iterator[CheckLine]:
    yield compare("command: fleet", content.fleet_id, command.fleet_id)
    yield compare("command: campaign", content.campaign_id, command.campaign_id)
    yield compare("command: generation", content.generation, command.generation)
    yield compare("command: subject tags", ", ".join(content.subject_tags), ", ".join(command.subject_tags))
    yield _included(content, "command", LeafKind.FORGET_COMMAND, content.command, content.command_inclusion)


def _node_set(content: Certificate, command: ForgetCommand) -> Iterator[CheckLine]:
    """Check that the nodes are those that the command was committed for, each once."""
    committed = [node.node_id for node in content.nodes if not node.joined]
    twice = [name for name, times in Counter(node.node_id for node in content.nodes).items() if times > 1]
    yield CheckLine("nodes", bool(content.nodes), "one or more", str(len(content.nodes)))
    yield compare("nodes named twice", "none", ", ".join(sorted(twice)) or "none")
    if not command.nodes and not command.nodes_root:
        yield CheckLine(
            "command: nodes",
            False,
            "a command that names its nodes",
            "one of before commands did: whether a node was left out cannot be told",
        )
        return
    yield compare("command: number of nodes", command.nodes, len(committed))
    yield compare("command: root over the nodes", command.nodes_root, nodes_root(committed))


def _decisions(content: Certificate, node: NodeEvidence, public_key: bytes) -> Iterator[CheckLine]:
    """Check that what sets a node apart was decided in a signed and logged event."""
    for kind in needed_events(node.state, joined=node.joined):
        word = AuditEventKind.Name(kind).removeprefix("AUDIT_EVENT_KIND_NODE_").lower()
        name = f"node {node.node_id}: {word}"
        found = [event for event in node.events if _kind(event.envelope) == kind]
        if not found:
            yield CheckLine(name, False, "a signed event in the log", "none")
            continue
        try:
            event = open_envelope(found[0].envelope, AuditEvent, public_key)
        except SignatureError as error:
            yield CheckLine(name, False, "an event signed by the coordinator", str(error))
            continue
        yield compare(f"{name}: fleet", content.fleet_id, event.fleet_id)
        yield compare(f"{name}: node", node.node_id, event.node_id)
        yield CheckLine(
            f"{name}: forget",
            event.campaign_id in ("", content.campaign_id) and event.generation >= content.generation,
            f"of this forget, at generation {content.generation} or later",
            f"of {event.campaign_id or 'no forget'}, at generation {event.generation}",
        )
        yield _included(content, name, LeafKind.AUDIT_EVENT, found[0].envelope, found[0].inclusion)


def _kind(envelope: Envelope) -> int:
    try:
        return AuditEvent.FromString(envelope.payload).kind
    except DecodeError:
        return AUDIT_EVENT_KIND_UNSPECIFIED


def _node(content: Certificate, node: NodeEvidence) -> Iterator[CheckLine]:
    name = f"node {node.node_id}"
    settled = node.state in SUCCESS or node.state in EXCEPTED
    yield CheckLine(f"{name}: state", settled, "verified, not_affected, retired or lost", node.state.value)
    if node.state not in SUCCESS:
        return
    if node.receipt is None:
        yield CheckLine(f"{name}: receipt", False, "a receipt", "none")
        return
    try:
        receipt = open_envelope(node.receipt, Receipt, node.receipt_public_key)
    except (SignatureError, ValueError) as error:
        yield CheckLine(f"{name}: receipt", False, "signed by the node", str(error))
        return
    yield compare(f"{name}: receipt's fleet", content.fleet_id, receipt.fleet_id)
    yield compare(f"{name}: receipt's node", node.node_id, receipt.node_id)
    yield compare(f"{name}: receipt's campaign", content.campaign_id, receipt.campaign_id)
    yield compare(f"{name}: receipt's generation", content.generation, receipt.generation)
    yield compare(f"{name}: receipt's command", payload_hash(content.command), receipt.command_hash)
    yield compare(f"{name}: outcome", _OUTCOMES[node.state], receipt.outcome)
    still_active = {entry.subject_tag for entry in receipt.active_adapters} & set(content.subject_tags)
    yield compare(f"{name}: forgotten tags still active", 0, len(still_active))
    yield compare(
        f"{name}: digest of adapters, LoRA and closed-form head",
        adapters_digest(receipt.active_adapters, receipt.lora_digest, receipt.head_digest),
        receipt.adapters_digest_after,
    )
    yield compare(f"{name}: ReRAM writes", 0, receipt.reram_writes)
    yield compare(f"{name}: statement", STATEMENT, receipt.statement)
    failed = "; ".join(str(line) for line in failures(node.checks))
    yield CheckLine(f"{name}: coordinator's checks", bool(node.checks) and not failed, "all hold", failed or "all hold")
    yield _included(content, f"{name}: receipt", LeafKind.RECEIPT, node.receipt, node.inclusion)


def _included(
    content: Certificate, name: str, kind: LeafKind, envelope: Envelope, proof: InclusionProof | None
) -> CheckLine:
    where = f"in the log of {content.tree_size} leaves with root {content.root_hash.hex()[:16]}"
    if proof is None:
        return CheckLine(f"{name} in the log", False, where, "no proof")
    if proof.tree_size != content.tree_size:
        return CheckLine(f"{name} in the log", False, where, f"a proof for {proof.tree_size} leaves")
    try:
        verify_inclusion(proof, leaf_hash(leaf_data(kind, envelope)), content.root_hash)
    except (ProofError, ValueError) as error:
        return CheckLine(f"{name} in the log", False, where, str(error))
    return CheckLine(f"{name} in the log", True, where, where)
