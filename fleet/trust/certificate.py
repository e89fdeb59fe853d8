"""Deletion certificate, which the coordinator signs once a forget has converged.

A DSSE envelope in its JSON form (github secure-systems-lab/dsse, envelope.md) around a JSON statement, so that what was
signed is checked byte for byte. It carries all that an auditor needs offline, but for the coordinator's public key: the
signed command, every node's signed receipt or the signed decision why there is none, and the proofs that all of them
are in the Merkle log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto.signing import key_id, pae
from reram_fleet.v1.types_pb2 import AuditEvent, Envelope

from fleet.domain.execution import EXCEPTED, ExecutionState
from fleet.errors import CertificateError, reason_of
from fleet.trust.checks import CheckLine
from fleet.trust.keys import Signer
from fleet.trust.merkle import InclusionProof

PAYLOAD_TYPE = "application/vnd.reram-fleet.certificate.v1+json"

#: Largest certificate that is read, in bytes: of 10,000 nodes with 1,000 adapters each.
MAX_BYTES = 1 << 30

_EXPECTED = "expected the JSON that `fleet certificate issue` wrote"

#: Last moment (Unix ms) that a calendar can show.
_LAST_MS = 253_402_300_799_999

#: What a certificate does not say; part of every one.
LIMITS = (
    "EXACT holds for subject adapters, on which nothing else depends.",
    "EXACT holds for a cohort LoRA: its shard left; trained again, equal codes give the same integers.",
    "APPROXIMATE holds for a shared LoRA repaired by a gradient method: what remains is measured, not nil.",
    "NOTHING HELD means: nobody's adapter, row or sample was there to forget, but for the planted probe's.",
    "VERIFIED means: the node's signed receipt names exactly the adapters that the coordinator recomputed.",
    "VERIFIED also means that planted canaries behaved; only they can catch a node that lies throughout.",
    "That no other copy exists is each node's own signed statement.",
    "A destroyed key file was overwritten and unlinked; unencrypted flash may keep an old block for a while.",
    "A RETIRED node was taken out of the fleet by its operator, and nothing was verified on it.",
    "A LOST node is out of contact: its lease has ended, and nothing was verified on it.",
    "The nodes are those that the signed command was committed for, and who joined while it was open.",
    "On the signer's word alone: whose key is whose, and how a LoRA or a head was made without the person.",
    "Who holds the command key can sign what is false, and make up a log for it: nobody cosigns the log yet.",
    "A node that is restored from a backup re-opens a forget: the coordinator can tell, this file cannot.",
    "What a device sent elsewhere before the forget is outside of this system.",
)


@dataclass(frozen=True)
class LoggedEvent:
    """A signed decision about a node (AuditEvent), and the proof that it is in the Merkle log."""

    envelope: Envelope
    inclusion: InclusionProof


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

    @property
    def reason(self) -> str:
        """Why nothing was verified here: the logged words of whoever decided so, else the coordinator's."""
        logged = [AuditEvent.FromString(event.envelope.payload).reason for event in self.events]
        return next((reason for reason in reversed(logged) if reason), self.detail)


@dataclass(frozen=True)
class AdapterVerdict:
    """Verdict on one kind of adapter: ``EXACT``, ``APPROXIMATE`` or ``NOTHING HELD``, and on what grounds."""

    adapter_kind: str
    verdict: str
    basis: str


@dataclass(frozen=True)
class Certificate:
    """Content of a certificate."""

    fleet_id: str
    campaign_id: str
    generation: int
    issued_at_ms: int
    subject_tags: tuple[str, ...]
    #: The log entry, and the proof that it is in the Merkle log.
    command: Envelope
    command_inclusion: InclusionProof
    #: Of the Merkle log when the certificate was issued; all proofs are against this tree.
    tree_size: int
    root_hash: bytes
    nodes: tuple[NodeEvidence, ...]
    verdicts: tuple[AdapterVerdict, ...]
    #: Of the forget when the certificate was issued: another convergence means that it re-opened meanwhile. 0 in
    #: certificates of before.
    campaign_version: int = 0
    converged_at_ms: int = 0
    #: Those of `subject_tags` that are nobody's: the canary that this forget spent to see it disappear.
    planted_tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = LIMITS

    @property
    def excepted(self) -> tuple[NodeEvidence, ...]:
        """The nodes without which the forget has converged."""
        return tuple(node for node in self.nodes if node.state in EXCEPTED)


def read_file(path: Path) -> str:
    """Return the text of a certificate's file; `CertificateError` if it is too large, cannot be read, or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CertificateError(f"{path} is no certificate: it is larger than {MAX_BYTES >> 20} MiB", hint=_EXPECTED)
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(f"{path} is no certificate: {reason_of(error)}", hint=_EXPECTED) from error


def build_certificate(content: Certificate, signer: Signer) -> str:
    """Return the signed certificate as JSON text."""
    payload = json.dumps(_to_json(content), indent=1, sort_keys=True).encode()
    signature = {
        "keyid": key_id(signer.command_public_key),
        "sig": _text(signer.sign_payload(PAYLOAD_TYPE, payload)),
    }
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": _text(payload), "signatures": [signature]}
    return json.dumps(envelope, indent=1)


def read_certificate(text: str, public_key: bytes) -> tuple[CheckLine, Certificate]:
    """Return the line on the coordinator's signature, and the content whether it holds or not.

    `CertificateError` if this is no certificate.

    `public_key` is the coordinator's raw Ed25519 command key (32 bytes), from a source other than the certificate.
    """
    try:
        envelope = json.loads(text)
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [
            base64.b64decode(entry["sig"], validate=True)
            for entry in envelope["signatures"]
            if entry["keyid"] == key_id(public_key)
        ]
        content = _from_json(json.loads(payload))
    except (*(KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError), DecodeError) as error:
        raise CertificateError(f"this is not a certificate: {reason_of(error)[:200]}", hint=_EXPECTED) from error
    expected = f"signed by {public_key.hex()}"
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        return CheckLine("certificate", False, PAYLOAD_TYPE, str(envelope.get("payloadType"))), content
    if not signatures:
        return CheckLine("certificate", False, expected, "no signature by this key"), content
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signatures[0], pae(PAYLOAD_TYPE, payload))
    except InvalidSignature:
        return CheckLine("certificate", False, expected, "a signature that does not match"), content
    return CheckLine("certificate", True, expected, expected), content


def _to_json(content: Certificate) -> dict[str, Any]:
    return {
        "fleet_id": content.fleet_id,
        "campaign_id": content.campaign_id,
        "generation": content.generation,
        "issued_at_unix_ms": content.issued_at_ms,
        "converged_at_unix_ms": content.converged_at_ms,
        "campaign_version": content.campaign_version,
        "subject_tags": list(content.subject_tags),
        "planted_tags": list(content.planted_tags),
        "log": {"tree_size": content.tree_size, "root_hash": content.root_hash.hex()},
        "command": _event_to_json(content.command, content.command_inclusion),
        "nodes": [
            {
                "node_id": node.node_id,
                "state": node.state.value,
                "detail": node.detail,
                "receipt_public_key": node.receipt_public_key.hex(),
                "receipt": node.receipt and _envelope_to_json(node.receipt),
                "inclusion": node.inclusion and _proof_to_json(node.inclusion),
                "checks": [vars(line) for line in node.checks],
                "joined": node.joined,
                "events": [_event_to_json(event.envelope, event.inclusion) for event in node.events],
            }
            for node in content.nodes
        ],
        "verdicts": [vars(verdict) for verdict in content.verdicts],
        "limits": list(content.limits),
    }


def _from_json(statement: Mapping[str, Any]) -> Certificate:
    command = _event_from_json(statement["command"])
    return Certificate(
        fleet_id=str(statement["fleet_id"]),
        campaign_id=str(statement["campaign_id"]),
        generation=int(statement["generation"]),
        issued_at_ms=_moment(statement["issued_at_unix_ms"]),
        subject_tags=tuple(str(tag) for tag in statement["subject_tags"]),
        command=command.envelope,
        command_inclusion=command.inclusion,
        tree_size=int(statement["log"]["tree_size"]),
        root_hash=bytes.fromhex(statement["log"]["root_hash"]),
        nodes=tuple(
            NodeEvidence(
                node_id=str(node["node_id"]),
                state=ExecutionState(node["state"]),
                detail=str(node["detail"]),
                receipt_public_key=bytes.fromhex(node["receipt_public_key"]),
                receipt=_envelope(node["receipt"]) if node["receipt"] else None,
                inclusion=_proof_from_json(node["inclusion"]) if node["inclusion"] else None,
                checks=tuple(CheckLine(**line) for line in node["checks"]),
                joined=bool(node.get("joined", False)),
                events=tuple(map(_event_from_json, node.get("events", ()))),
            )
            for node in statement["nodes"]
        ),
        verdicts=tuple(AdapterVerdict(**verdict) for verdict in statement["verdicts"]),
        campaign_version=int(statement.get("campaign_version", 0)),
        converged_at_ms=_moment(statement.get("converged_at_unix_ms", 0)),
        planted_tags=tuple(str(tag) for tag in statement.get("planted_tags", ())),
        limits=tuple(str(limit) for limit in statement["limits"]),
    )


def _moment(unix_ms: Any) -> int:
    found = int(unix_ms)
    if not 0 <= found <= _LAST_MS:
        raise ValueError(f"{found} is no Unix time in ms")
    return found


def _proof_to_json(proof: InclusionProof) -> dict[str, Any]:
    return {**vars(proof), "path": [sibling.hex() for sibling in proof.path]}


def _event_to_json(envelope: Envelope, inclusion: InclusionProof) -> dict[str, Any]:
    return {"envelope": _envelope_to_json(envelope), "inclusion": _proof_to_json(inclusion)}


def _event_from_json(event: Mapping[str, Any]) -> LoggedEvent:
    return LoggedEvent(_envelope(event["envelope"]), _proof_from_json(event["inclusion"]))


def _envelope_to_json(envelope: Envelope) -> str:
    return _text(envelope.SerializeToString(deterministic=True))


def _proof_from_json(proof: Mapping[str, Any]) -> InclusionProof:
    path = tuple(bytes.fromhex(sibling) for sibling in proof["path"])
    return InclusionProof(int(proof["leaf_index"]), int(proof["tree_size"]), path)


def _envelope(text: str) -> Envelope:
    return Envelope.FromString(base64.b64decode(text, validate=True))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
