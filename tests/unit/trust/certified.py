"""A certificate of one person's forget on one node, and what tests change in it."""

from dataclasses import replace

from reram_fleet.v1.types_pb2 import AuditEvent

from fleet.domain.execution import ExecutionState
from fleet.trust.certificate import AdapterVerdict, Certificate
from fleet.trust.evidence import LoggedEvent, NodeEvidence, NodesSummary
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import MemoryTree, leaf_hash
from fleet.trust.receipts import check_receipt
from tests.unit.trust.conftest import FORGOTTEN, ForgottenPerson

EXACT = AdapterVerdict("subject-adapter", "EXACT", "nothing else depends on it")


def event(forget: ForgottenPerson, kind: int, node_id: str = "n1", **changes):
    """Return a signed decision about a node of the fleet."""
    fields = {"fleet_id": "f1", "generation": 4, "reason": "fell off a lorry", **changes}
    return forget.coordinator.sign(AuditEvent(kind=kind, node_id=node_id, **fields))


def content(forget: ForgottenPerson, receipt=None, *, events=(), command=None) -> Certificate:
    """Return the certificate's content: VERIFIED on the one node, with every decision about it logged."""
    receipt, command = receipt or forget.signed(), command or forget.command
    data = [b"before", leaf_data(LeafKind.FORGET_COMMAND, command), b"between"]
    data += [leaf_data(LeafKind.RECEIPT, receipt), b"after"]
    data += [leaf_data(LeafKind.AUDIT_EVENT, envelope) for envelope in events]
    tree = MemoryTree([leaf_hash(entry) for entry in data])
    node = NodeEvidence(
        "n1",
        ExecutionState.VERIFIED,
        "",
        forget.node_public_key,
        receipt,
        tree.prove_inclusion(3),
        check_receipt(receipt, forget.node_public_key, forget.expectation).lines,
        events=tuple(LoggedEvent(envelope, tree.prove_inclusion(5 + number)) for number, envelope in enumerate(events)),
    )
    return Certificate(
        fleet_id="f1",
        campaign_id=forget.campaign_id,
        generation=4,
        issued_at_ms=2_000,
        subject_tags=(FORGOTTEN,),
        command=LoggedEvent(command, tree.prove_inclusion(1)),
        tree_size=tree.size(),
        root_hash=tree.root(),
        summary=NodesSummary.of((node,), 0),
        nodes=(node,),
        verdicts=(EXACT,),
        campaign_version=3,
        converged_at_ms=1_500,
    )


def given_up(whole: Certificate, state: ExecutionState) -> Certificate:
    """Return the certificate with its node in a state without a receipt."""
    return with_nodes(whole, replace(whole.nodes[0], state=state, receipt=None, inclusion=None, checks=()))


def with_nodes(whole: Certificate, *nodes: NodeEvidence) -> Certificate:
    """Return the certificate with other nodes, as whoever signs it would have it."""
    return replace(whole, nodes=nodes, summary=NodesSummary.of(nodes, len(whole.planted_tags)))
