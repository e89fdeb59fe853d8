"""Offline check of a certificate, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

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
from fleet.trust.certificate import Certificate, read_certificate
from fleet.trust.checks import CheckLine, compare, failures
from fleet.trust.evidence import CertifiedNode, NodeEvidence, NodesSummary
from fleet.trust.leaves import LeafKind, leaf_data, nodes_root
from fleet.trust.merkle import InclusionProof, leaf_hash, verify_inclusion
from fleet.trust.verdicts import verdict_lines

_OUTCOMES = {ExecutionState.VERIFIED: RECEIPT_OUTCOME_ERASED, ExecutionState.NOT_AFFECTED: RECEIPT_OUTCOME_NOT_AFFECTED}

#: Every state of `EXCEPTED`.
_DECIDED_BY = {ExecutionState.RETIRED: AUDIT_EVENT_KIND_NODE_RETIRED, ExecutionState.LOST: AUDIT_EVENT_KIND_NODE_LOST}


def verify_certificate(text: str, public_key: bytes, proofs: Sequence[NodeEvidence] = ()) -> list[CheckLine]:
    """Check everything in a certificate that can be checked without the fleet.

    `CertificateError` if this is no certificate.

    The certificate holds if all lines do; if the coordinator's signature does not, it is the only line. Of nodes whose
    evidence is neither in it nor among the `proofs`, it is the signer's word. `text` is the JSON of
    `fleet.trust.certificate.build_certificate`, `public_key` the coordinator's raw Ed25519 command key (32 bytes), from
    a source other than the certificate.
    """
    signed, content = read_certificate(text, public_key)
    if not signed.holds:
        return [signed]
    lines = [signed]
    try:
        command = open_envelope(content.command.envelope, ForgetCommand, public_key)
    except SignatureError as error:
        lines.append(CheckLine("command", False, "signed by the coordinator", str(error)))
    else:
        lines += [*_command(content, command), *_node_set(content, command, proofs)]
    lines += _summary(content)
    for node in content.summary.exceptions:
        lines += _decisions(content, node, public_key)
    if content.nodes:
        lines += _bound_together(content)
    for node in proofs:
        lines.append(bound_line(content, node))
    for node in (*content.nodes, *proofs):
        lines += _node(content, node)
    return [*lines, *verdict_lines(content)]


def receipts_there(content: Certificate, proofs: Sequence[NodeEvidence] = ()) -> tuple[int, int]:
    """Return how many receipts are there to be checked, and how many a certificate rests on."""
    there = {node.node_id for node in (*content.nodes, *proofs) if node.state in SUCCESS}
    return len(there), sum(content.summary.counts.get(state, 0) for state in SUCCESS)


def needed_events(node: CertifiedNode) -> tuple[AuditEventKind, ...]:
    """Return the kinds of logged decision without which a node may not stand in a certificate like this."""
    kinds = [] if node.state not in EXCEPTED else [_DECIDED_BY[node.state]]
    return (*([AUDIT_EVENT_KIND_NODE_ENROLLED] if node.joined else []), *kinds)


def _command(content: Certificate, command: ForgetCommand) -> Iterator[CheckLine]:
    yield compare("command: fleet", content.fleet_id, command.fleet_id)
    yield compare("command: campaign", content.campaign_id, command.campaign_id)
    yield compare("command: generation", content.generation, command.generation)
    yield compare("command: subject tags", ", ".join(content.subject_tags), ", ".join(command.subject_tags))
    yield _included(content, "command", LeafKind.FORGET_COMMAND, content.command.envelope, content.command.inclusion)


def _node_set(content: Certificate, command: ForgetCommand, proofs: Sequence[NodeEvidence]) -> Iterator[CheckLine]:
    """Check that the nodes are those that the command was committed for: which they are, once all are named."""
    if not command.nodes and not command.nodes_root:
        yield CheckLine(
            "command: nodes",
            False,
            "a command that names its nodes",
            "one of before commands did: whether a node was left out cannot be told",
        )
        return
    yield compare("command: number of nodes", command.nodes, content.summary.committed)
    named = {n.node_id for n in (*content.nodes, *proofs, *content.summary.exceptions) if not n.joined}
    if content.nodes or len(named) >= content.summary.committed:
        yield compare("command: root over the nodes", command.nodes_root, nodes_root(named))


def _summary(content: Certificate) -> Iterator[CheckLine]:
    """Check what the certificate says of all nodes."""
    said = content.summary
    yield CheckLine("nodes", said.nodes > 0, "one or more", str(said.nodes))
    open_states = sorted(said.counts.keys() - SUCCESS - EXCEPTED)
    yield compare("nodes: neither done nor given up", "none", ", ".join(open_states) or "none")
    given_up = {state: count for state, count in said.counts.items() if state in EXCEPTED}
    listed = Counter(node.state for node in said.excepted)
    yield compare("nodes without which it has converged", _counted(given_up), _counted(listed))
    twice = [name for name, times in Counter(node.node_id for node in said.exceptions).items() if times > 1]
    yield compare("exceptions named twice", "none", ", ".join(sorted(twice)) or "none")


def _bound_together(content: Certificate) -> Iterator[CheckLine]:
    """Check that the evidence beside a certificate is what its root binds, of each node once."""
    said, nodes = content.summary, content.nodes
    twice = [name for name, times in Counter(node.node_id for node in nodes).items() if times > 1]
    yield compare("nodes named twice", "none", ", ".join(sorted(twice)) or "none")
    found = NodesSummary.of(nodes, len(content.planted_tags))
    yield compare("nodes: root over their receipts", said.root_hash, found.root_hash)
    yield compare("nodes: how many are in which state", _counted(said.counts), _counted(found.counts))
    yield compare("nodes: exceptions", _exceptions(said), _exceptions(found))
    yield compare("nodes: how many erased more than the planted probe", said.erasing, found.erasing)


def bound_line(content: Certificate, node: NodeEvidence) -> CheckLine:
    """Check that the evidence of one node is what the root of a certificate binds."""
    name, said = f"node {node.node_id}: in the certificate", content.summary
    where = f"under the root {said.root_hash.hex()[:16]} over {said.nodes} nodes"
    proof = node.in_certificate
    if proof is None or proof.tree_size != said.nodes:
        return CheckLine(name, False, where, "no proof" if proof is None else f"a proof for {proof.tree_size} nodes")
    if node.certified.is_exception and not any(
        (each.node_id, each.state, each.joined) == (node.node_id, node.state, node.joined) for each in said.exceptions
    ):
        return CheckLine(name, False, "among the exceptions", "not there")
    try:
        verify_inclusion(proof, node.certified.leaf, said.root_hash)
    except (ProofError, ValueError) as error:
        return CheckLine(name, False, where, str(error))
    return CheckLine(name, True, where, where)


def _counted(counts: Mapping[ExecutionState, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if count) or "none"


def _exceptions(summary: NodesSummary) -> str:
    named = sorted(f"{n.node_id} {n.state}{' (joined)' if n.joined else ''}" for n in summary.exceptions)
    return ", ".join(named) or "none"


def _decisions(content: Certificate, node: NodeEvidence, public_key: bytes) -> Iterator[CheckLine]:
    """Check that what sets a node apart was decided in a signed and logged event."""
    for kind in needed_events(node.certified):
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
    yield compare(f"{name}: receipt's command", payload_hash(content.command.envelope), receipt.command_hash)
    yield compare(f"{name}: outcome", _OUTCOMES[node.state], receipt.outcome)
    still_active = {entry.subject_tag for entry in receipt.active_adapters} & set(content.subject_tags)
    yield compare(f"{name}: forgotten tags still active", 0, len(still_active))
    yield compare(
        f"{name}: digest of adapters, LoRA, closed-form head and erasers",
        adapters_digest(receipt.active_adapters, receipt.lora_digest, receipt.head_digest, receipt.erasers_digest),
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
