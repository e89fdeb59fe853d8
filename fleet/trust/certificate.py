"""Deletion certificate, which the coordinator signs once a forget has converged.

A DSSE envelope in its JSON form (github secure-systems-lab/dsse, envelope.md) around a JSON statement, so that what was
signed is checked byte for byte. The statement has the signed command, how many nodes are in which state, a root that
binds every node's receipt, and for each node without one, or that joined later, the signed decision why; with proofs
that all of it is in the Merkle log. Receipts stand beside it: those of all nodes in the same file, if it is small or
that is asked for, or those of single nodes in files of their own. With them, an auditor needs the coordinator's public
key alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto.signing import key_id, pae

from fleet.errors import CertificateError, reason_of
from fleet.trust.checks import CheckLine
from fleet.trust.evidence import (
    LoggedEvent,
    NodeEvidence,
    NodesSummary,
    event_from_json,
    event_to_json,
    evidence_from_json,
    evidence_to_json,
)
from fleet.trust.keys import Signer

PAYLOAD_TYPE = "application/vnd.reram-fleet.certificate.v2+json"
#: Of before, when the evidence of all nodes was part of the statement.
_FIRST_TYPE = "application/vnd.reram-fleet.certificate.v1+json"

#: A certificate is issued with all receipts unless it would be larger than this, in bytes.
SMALL_BYTES = 1_000_000

#: Largest certificate that is read, in bytes: of 10,000 nodes with 1,000 adapters each.
MAX_BYTES = 1 << 30

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, DecodeError)

_EXPECTED = "expected the JSON that `fleet certificate issue` wrote"

#: Last moment (Unix ms) that a calendar can show.
_LAST_MS = 253_402_300_799_999

#: What a certificate does not say; part of every one.
LIMITS = (
    "EXACT holds for subject adapters, on which nothing else depends.",
    "EXACT holds for a cohort LoRA: its shard left; trained again, equal codes give the same integers.",
    "APPROXIMATE holds for a shared LoRA repaired by a gradient method: what remains is measured, not nil.",
    "MASKED holds for a concept that the crossbars know: whoever takes the eraser off has it back.",
    "REFUSED means: the crossbars know the concept, and nothing but the refusal of its name keeps it from showing.",
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
    "Of nodes whose receipts are not here, the signer says that they hold: each can have been proved since.",
    "A node that is restored from a backup re-opens a forget: the coordinator can tell, this file cannot.",
    "What a device sent elsewhere before the forget is outside of this system.",
)


@dataclass(frozen=True)
class AdapterVerdict:
    """Verdict on one kind of adapter: ``EXACT``, ``APPROXIMATE``, ``MASKED``, ``REFUSED`` or ``NOTHING HELD``."""

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
    command: LoggedEvent
    #: Of the Merkle log when the certificate was issued; all proofs are against this tree.
    tree_size: int
    root_hash: bytes
    summary: NodesSummary
    verdicts: tuple[AdapterVerdict, ...]
    #: Evidence that stands beside what is signed: of every node, by id, or of none.
    nodes: tuple[NodeEvidence, ...] = ()
    #: Of the forget when the certificate was issued: another convergence means that it re-opened meanwhile. 0 in
    #: certificates of before.
    campaign_version: int = 0
    converged_at_ms: int = 0
    #: Those of `subject_tags` that are nobody's: the canary that this forget spent to see it disappear.
    planted_tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = LIMITS


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
    """Return the signed certificate as JSON text, with the evidence that stands beside it."""
    payload = json.dumps(_to_json(content), indent=1, sort_keys=True).encode()
    signature = {
        "keyid": key_id(signer.command_public_key),
        "sig": _text(signer.sign_payload(PAYLOAD_TYPE, payload)),
    }
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": _text(payload), "signatures": [signature]}
    return with_evidence(json.dumps(envelope), [json.dumps(evidence_to_json(node)) for node in content.nodes])


def has_evidence(certificate: str) -> bool:
    """Whether the evidence of nodes stands beside what is signed."""
    return bool(json.loads(certificate).get("nodes"))


def with_receipts(
    certificate: str, page_of: Callable[[int, str], tuple[Sequence[str], str]], *, most_bytes: int | None = None
) -> str:
    """Return a certificate that was just issued with all its receipts beside it; as it is if that has too many bytes.

    `page_of` returns the evidence of some nodes, each as JSON text, and where the next page begins ("": nowhere), for a
    size of the log and where a page begins.
    """
    log_size = int(json.loads(base64.b64decode(json.loads(certificate)["payload"]))["log"]["tree_size"])
    nodes: list[str] = []
    token = ""
    while True:
        some, token = page_of(log_size, token)
        nodes += some
        if most_bytes is not None and len(certificate) + sum(map(len, nodes)) > most_bytes:
            return certificate
        if not token:
            return with_evidence(certificate, nodes)


def with_evidence(certificate: str, nodes: Sequence[str]) -> str:
    """Return a certificate without evidence with that of nodes beside it, each as JSON text: a line for each node."""
    if not nodes:
        return certificate
    return f"{certificate.removesuffix('}')}, {proof_text(nodes).removeprefix('{')}"


def proof_text(nodes: Sequence[str]) -> str:
    """Return the content of a file with the evidence of nodes, each as JSON text."""
    return '{"nodes": [\n' + ",\n".join(nodes) + "\n]}"


def read_proof(text: str) -> tuple[NodeEvidence, ...]:
    """Return the evidence of nodes out of a file beside a certificate; `CertificateError` if that is none."""
    try:
        return tuple(map(evidence_from_json, json.loads(text)["nodes"]))
    except _MALFORMED as error:
        hint = "expected the JSON that `fleet certificate proof` wrote"
        raise CertificateError(f"this is not a proof: {reason_of(error)[:200]}", hint=hint) from error


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
        content = _from_json(json.loads(payload), envelope.get("nodes", ()))
        kind = str(envelope.get("payloadType"))
    except _MALFORMED as error:
        raise CertificateError(f"this is not a certificate: {reason_of(error)[:200]}", hint=_EXPECTED) from error
    expected = f"signed by {public_key.hex()}"
    if kind not in (PAYLOAD_TYPE, _FIRST_TYPE):
        return CheckLine("certificate", False, PAYLOAD_TYPE, kind), content
    if not signatures:
        return CheckLine("certificate", False, expected, "no signature by this key"), content
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signatures[0], pae(kind, payload))
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
        "command": event_to_json(content.command),
        "nodes": content.summary.to_json(),
        "verdicts": [vars(verdict) for verdict in content.verdicts],
        "limits": list(content.limits),
    }


def _from_json(statement: Mapping[str, Any], beside: Iterable[Mapping[str, Any]]) -> Certificate:
    planted = tuple(str(tag) for tag in statement.get("planted_tags", ()))
    nodes = tuple(map(evidence_from_json, beside))
    if isinstance(said := statement["nodes"], list):
        # Of before: all evidence is part of what was signed.
        nodes = tuple(map(evidence_from_json, said))
        summary = NodesSummary.of(nodes, len(planted))
    else:
        summary = NodesSummary.from_json(said)
    return Certificate(
        fleet_id=str(statement["fleet_id"]),
        campaign_id=str(statement["campaign_id"]),
        generation=int(statement["generation"]),
        issued_at_ms=_moment(statement["issued_at_unix_ms"]),
        subject_tags=tuple(str(tag) for tag in statement["subject_tags"]),
        command=event_from_json(statement["command"]),
        tree_size=int(statement["log"]["tree_size"]),
        root_hash=bytes.fromhex(statement["log"]["root_hash"]),
        summary=summary,
        nodes=nodes,
        verdicts=tuple(AdapterVerdict(**verdict) for verdict in statement["verdicts"]),
        campaign_version=int(statement.get("campaign_version", 0)),
        converged_at_ms=_moment(statement.get("converged_at_unix_ms", 0)),
        planted_tags=planted,
        limits=tuple(str(limit) for limit in statement["limits"]),
    )


def _moment(unix_ms: Any) -> int:
    found = int(unix_ms)
    if not 0 <= found <= _LAST_MS:
        raise ValueError(f"{found} is no Unix time in ms")
    return found


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
