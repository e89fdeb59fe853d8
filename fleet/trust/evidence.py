"""Evidence of a forget on one node: what a certificate binds by its root, or has proved one by one."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from google.protobuf.message import DecodeError
from reram_fleet.crypto.signing import key_id, payload_hash
from reram_fleet.v1.types_pb2 import AuditEvent, Envelope, Receipt

from fleet.domain.execution import EXCEPTED, SUCCESS, ExecutionState
from fleet.trust.checks import CheckLine, checks_digest
from fleet.trust.merkle import InclusionProof, MemoryTree, leaf_hash


@dataclass(frozen=True)
class LoggedEvent:
    """A signed decision about a node (AuditEvent), and the proof that it is in the Merkle log."""

    envelope: Envelope
    inclusion: InclusionProof


@dataclass(frozen=True)
class CertifiedNode:
    """One node as the root of a certificate binds it."""

    node_id: str
    state: ExecutionState
    #: The node came after the commit, so the signed command does not count it.
    joined: bool
    #: SHA-256 of the receipt's payload, the id of the key that it is signed with, and the digest of the lines that it
    #: was checked by; empty without a receipt.
    receipt_hash: bytes = b""
    receipt_key_id: str = ""
    checks_digest: bytes = b""

    @property
    def is_exception(self) -> bool:
        """Whether the certificate names it, with the decisions why it is not like the others."""
        return self.joined or self.state in EXCEPTED

    @property
    def leaf(self) -> bytes:
        """RFC 6962 hash (32 bytes) of its leaf."""
        receipt = (self.receipt_hash.hex(), self.receipt_key_id, self.checks_digest.hex())
        data = json.dumps([self.node_id, self.state.value, self.joined, *receipt]).encode()
        return leaf_hash(b"reram-fleet/leaf/certified-node/v1\0" + data)


def certified_tree(nodes: Iterable[CertifiedNode]) -> MemoryTree:
    """Return the tree over the nodes of a certificate, by id."""
    return MemoryTree([node.leaf for node in sorted(nodes, key=lambda node: node.node_id)])


@dataclass(frozen=True)
class NodeEvidence:
    """Evidence of the forget on one node."""

    node_id: str
    state: ExecutionState
    detail: str
    #: Raw Ed25519 key under which the node was enrolled; the coordinator vouches for it.
    receipt_public_key: bytes
    #: The node's receipt, and the proof that it is in the Merkle log. None if there is none.
    receipt: Envelope | None = None
    inclusion: InclusionProof | None = None
    #: Lines of `fleet.trust.receipts.check_receipt` when it was accepted.
    checks: tuple[CheckLine, ...] = ()
    #: The node came after the commit, so the signed command does not count it.
    joined: bool = False
    #: Why the node is not like the others: joined, retired or lost.
    events: tuple[LoggedEvent, ...] = ()
    #: Proof that the certificate's root binds this; None where the evidence of all nodes stands together.
    in_certificate: InclusionProof | None = None

    @property
    def certified(self) -> CertifiedNode:
        """The node as the root of a certificate binds it."""
        if self.receipt is None:
            return CertifiedNode(self.node_id, self.state, self.joined)
        signed = (payload_hash(self.receipt), key_id(self.receipt_public_key))
        return CertifiedNode(self.node_id, self.state, self.joined, *signed, checks_digest(self.checks))

    @property
    def reason(self) -> str:
        """Why nothing was verified here: the logged words of whoever decided so, else the coordinator's."""
        logged = [AuditEvent.FromString(event.envelope.payload).reason for event in self.events]
        return next((reason for reason in reversed(logged) if reason), self.detail)

    def erased_more_than(self, probes: int) -> bool:
        """Whether its receipt tells of more than the adapters of so many planted probes."""
        if self.state not in SUCCESS or self.receipt is None:
            return False
        try:
            receipt = Receipt.FromString(self.receipt.payload)
        except DecodeError:
            # Its own line fails.
            return False
        others = receipt.lora_rows_erased + receipt.code_samples_erased
        return receipt.subject_adapters_erased > probes or others > 0


@dataclass(frozen=True)
class NodesSummary:
    """Signed summary of all nodes of a certificate, whether their receipts are beside it or not."""

    #: How many nodes are in which state.
    counts: Mapping[ExecutionState, int]
    #: Of `certified_tree`.
    root_hash: bytes
    #: Nodes that joined, were retired or lost, with the decisions; without receipts.
    exceptions: tuple[NodeEvidence, ...]
    #: How many receipts tell of more than the planted probe's adapter.
    erasing: int

    @classmethod
    def of(cls, nodes: Sequence[NodeEvidence], probes: int) -> Self:
        """Return the summary of nodes with all their evidence, after a forget that spent so many planted probes."""
        return cls(
            counts=Counter(node.state for node in nodes),
            root_hash=certified_tree(node.certified for node in nodes).root(),
            exceptions=tuple(
                replace(node, receipt=None, inclusion=None, checks=()) for node in nodes if node.certified.is_exception
            ),
            erasing=sum(node.erased_more_than(probes) for node in nodes),
        )

    @property
    def nodes(self) -> int:
        """Number of all nodes."""
        return sum(self.counts.values())

    @property
    def committed(self) -> int:
        """Number of the nodes that the command was committed for."""
        return self.nodes - sum(node.joined for node in self.exceptions)

    @property
    def excepted(self) -> tuple[NodeEvidence, ...]:
        """The nodes without which the forget has converged."""
        return tuple(node for node in self.exceptions if node.state in EXCEPTED)

    def to_json(self) -> dict[str, Any]:
        """Return it as a certificate has it."""
        return {
            "counts": {state.value: count for state, count in self.counts.items()},
            "root_hash": self.root_hash.hex(),
            "erasing": self.erasing,
            "exceptions": [evidence_to_json(node) for node in self.exceptions],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Return what a certificate has."""
        return cls(
            counts={ExecutionState(state): int(count) for state, count in body["counts"].items()},
            root_hash=bytes.fromhex(body["root_hash"]),
            exceptions=tuple(map(evidence_from_json, body["exceptions"])),
            erasing=int(body["erasing"]),
        )


def evidence_to_json(node: NodeEvidence) -> dict[str, Any]:
    """Return the evidence of a node as a certificate or a proof has it."""
    return {
        "node_id": node.node_id,
        "state": node.state.value,
        "detail": node.detail,
        "receipt_public_key": node.receipt_public_key.hex(),
        "receipt": node.receipt and envelope_to_json(node.receipt),
        "inclusion": node.inclusion and _proof_to_json(node.inclusion),
        "checks": [vars(line) for line in node.checks],
        "joined": node.joined,
        "events": [event_to_json(event) for event in node.events],
        **({} if node.in_certificate is None else {"in_certificate": _proof_to_json(node.in_certificate)}),
    }


def evidence_from_json(node: Mapping[str, Any]) -> NodeEvidence:
    """Return the evidence of a node out of a certificate or a proof."""
    return NodeEvidence(
        node_id=str(node["node_id"]),
        state=ExecutionState(node["state"]),
        detail=str(node["detail"]),
        receipt_public_key=bytes.fromhex(node["receipt_public_key"]),
        receipt=_envelope(node["receipt"]) if node["receipt"] else None,
        inclusion=_proof_from_json(node["inclusion"]) if node["inclusion"] else None,
        checks=tuple(CheckLine(**line) for line in node["checks"]),
        joined=bool(node.get("joined", False)),
        events=tuple(map(event_from_json, node.get("events", ()))),
        in_certificate=_proof_from_json(node["in_certificate"]) if node.get("in_certificate") else None,
    )


def event_to_json(event: LoggedEvent) -> dict[str, Any]:
    """Return something signed and logged as a certificate has it."""
    return {"envelope": envelope_to_json(event.envelope), "inclusion": _proof_to_json(event.inclusion)}


def event_from_json(event: Mapping[str, Any]) -> LoggedEvent:
    """Return something signed and logged out of a certificate."""
    return LoggedEvent(_envelope(event["envelope"]), _proof_from_json(event["inclusion"]))


def envelope_to_json(envelope: Envelope) -> str:
    """Return an envelope as text."""
    return base64.b64encode(envelope.SerializeToString(deterministic=True)).decode()


def _envelope(text: str) -> Envelope:
    return Envelope.FromString(base64.b64decode(text, validate=True))


def _proof_to_json(proof: InclusionProof) -> dict[str, Any]:
    return {**vars(proof), "path": [sibling.hex() for sibling in proof.path]}


def _proof_from_json(proof: Mapping[str, Any]) -> InclusionProof:
    path = tuple(bytes.fromhex(sibling) for sibling in proof["path"])
    return InclusionProof(int(proof["leaf_index"]), int(proof["tree_size"]), path)
