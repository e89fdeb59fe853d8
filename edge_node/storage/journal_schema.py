"""Tables of the journal, and its rows as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCHEMA_VERSION = 5

# What the node's chip was programmed for: one chip, for good.
_CHIP = """
CREATE TABLE chip (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    task TEXT NOT NULL,
    preset TEXT NOT NULL,
    fleet_seed INTEGER NOT NULL
) STRICT;
"""
# Its cells age from then on; 0: not known.
_PROGRAMMED_AT = "ALTER TABLE chip ADD COLUMN programmed_at_unix_ms INTEGER NOT NULL DEFAULT 0;"

# Nothing personal is stored in the clear: codes and revisions are ciphertext under keys that live in files of their
# own, and what was sealed to the coordinator is not stored at all but made afresh whenever it is sent.
SCHEMA = (
    _CHIP
    + _PROGRAMMED_AT
    + """
CREATE TABLE node (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    node_id TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    log_head BLOB NOT NULL,
    receipt_counter INTEGER NOT NULL DEFAULT 0,
    last_receipt_hash BLOB NOT NULL,
    inferences INTEGER NOT NULL DEFAULT 0,
    stale_refused INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE cost (
    phase TEXT PRIMARY KEY,
    energy_j REAL NOT NULL,
    seconds REAL NOT NULL,
    bytes INTEGER NOT NULL,
    cell_writes INTEGER NOT NULL
) STRICT;

-- What each forget took, by phase.
CREATE TABLE forget_cost (
    generation INTEGER NOT NULL,
    phase TEXT NOT NULL,
    energy_j REAL NOT NULL,
    seconds REAL NOT NULL,
    bytes INTEGER NOT NULL,
    cell_writes INTEGER NOT NULL,
    PRIMARY KEY (generation, phase)
) STRICT;

-- The forget log as far as this node has suppressed it, with what it held of those named at that moment.
CREATE TABLE forget (
    generation INTEGER PRIMARY KEY,
    campaign_id TEXT NOT NULL,
    envelope BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    digest_before BLOB NOT NULL,
    subject_adapters INTEGER NOT NULL,
    lora_rows INTEGER NOT NULL,
    code_samples INTEGER NOT NULL,
    suppress_seconds REAL NOT NULL
) STRICT;

-- Forgotten tags. Rows are never deleted: a tombstone that expires lets a restored copy come back.
CREATE TABLE tombstone (
    subject_tag TEXT PRIMARY KEY,
    generation INTEGER NOT NULL REFERENCES forget (generation)
) STRICT;

CREATE TABLE enrolment (
    subject_tag TEXT PRIMARY KEY,
    -- Rises whenever samples are added; the contribution carries it.
    sequence INTEGER NOT NULL,
    acked_sequence INTEGER NOT NULL DEFAULT 0,
    refusal TEXT NOT NULL DEFAULT '',
    samples INTEGER NOT NULL,
    ciphertext BLOB NOT NULL,
    -- Envelope of the EnrolmentTicket that allowed it; the contribution carries it.
    ticket BLOB NOT NULL DEFAULT x''
) STRICT;

CREATE TABLE revision (
    revision INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    manifest BLOB NOT NULL,
    key_id TEXT NOT NULL UNIQUE,
    ciphertext BLOB NOT NULL,
    overhead BLOB NOT NULL,
    -- active -> superseded (another was installed) -> row gone, key destroyed
    state TEXT NOT NULL CHECK (state IN ('active', 'superseded'))
) STRICT;
CREATE UNIQUE INDEX one_active_revision ON revision (state) WHERE state = 'active';

-- Written before the first key is destroyed: a crash after that resumes, with the same counts.
CREATE TABLE erasure (
    generation INTEGER PRIMARY KEY REFERENCES forget (generation),
    subject_keys TEXT NOT NULL,
    revision_keys TEXT NOT NULL,
    -- intended -> done (keys destroyed, rows deleted)
    state TEXT NOT NULL CHECK (state IN ('intended', 'done'))
) STRICT;

CREATE TABLE receipt (
    counter INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL REFERENCES forget (generation),
    challenge_nonce BLOB NOT NULL,
    envelope BLOB NOT NULL,
    -- pending -> accepted, pending -> refused (by the coordinator)
    state TEXT NOT NULL CHECK (state IN ('pending', 'accepted', 'refused'))
) STRICT;
"""
)


#: What brings a journal of the version before to each version.
UPGRADES = {
    2: "ALTER TABLE enrolment ADD COLUMN ticket BLOB NOT NULL DEFAULT x'';",
    3: _CHIP,
    4: "ALTER TABLE enrolment RENAME COLUMN clips TO samples;",
    5: _PROGRAMMED_AT,
}


class ReceiptState(StrEnum):
    """Verdict of the coordinator on a receipt, so far."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True)
class ProgrammedChip:
    """Purpose that a node's chip was programmed for: another task, technology or seed is another chip."""

    task: str
    preset: str
    fleet_seed: int


@dataclass(frozen=True)
class Position:
    """Position of the node: its generation, the hash of that log entry, and its chain of receipts."""

    generation: int
    log_head: bytes
    receipt_counter: int
    last_receipt_hash: bytes


@dataclass(frozen=True)
class ForgetRow:
    """One suppressed log entry and what the node held of those it names."""

    generation: int
    campaign_id: str
    envelope: bytes
    payload_hash: bytes
    digest_before: bytes
    subject_adapters: int
    lora_rows: int
    code_samples: int
    suppress_seconds: float


@dataclass(frozen=True)
class EnrolmentRow:
    """Sealed codes of one tag, and how far the coordinator knows of them."""

    subject_tag: str
    sequence: int
    acked_sequence: int
    refusal: str
    samples: int
    ciphertext: bytes
    ticket: bytes


@dataclass(frozen=True)
class RevisionRow:
    """One stored revision: serialised manifest envelope, sealed content, serialised overhead."""

    revision: int
    digest: bytes
    manifest: bytes
    key_id: str
    ciphertext: bytes
    overhead: bytes
    state: str


@dataclass(frozen=True)
class ErasureRow:
    """Keys that an erase destroys; `done` once they and what they sealed are gone."""

    generation: int
    subject_keys: tuple[str, ...]
    revision_keys: tuple[str, ...]
    done: bool


@dataclass(frozen=True)
class ReceiptRow:
    """One signed receipt (serialised envelope) and its fate."""

    counter: int
    generation: int
    challenge_nonce: bytes
    envelope: bytes
    state: ReceiptState
