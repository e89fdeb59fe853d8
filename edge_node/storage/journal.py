"""Journal of what a node must still know after a power cut: SQLite, written before anything is answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reram_fleet.crypto.digests import ZERO_HASH

from edge_node.errors import JournalError
from edge_node.storage.journal_schema import (
    SCHEMA,
    SCHEMA_VERSION,
    UPGRADES,
    EnrolmentRow,
    ErasureRow,
    ForgetRow,
    Position,
    ProgrammedChip,
    ReceiptRow,
    ReceiptState,
    RevisionRow,
)
from hwmodel import Cost, Phase


class Journal:
    """Durable state of one node. Not locked: its one user, `Node`, is.

    Every write happens inside `with journal.transaction():`; what is written there is on disk, all of it or nothing,
    when the block has ended.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # As it was read or written last.
        self._position: Position | None = None
        # Counters as they were written last: most of them are still that.
        self._costs: dict[Phase, Cost] = {}
        self._inference_counts: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path, node_id: str) -> Journal:
        """Open or create the journal of a node.

        `JournalError` if it cannot be read, is of another node, or of another schema version.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            # Rollback journal rather than WAL: a WAL keeps pages that were deleted. TRUNCATE rather than DELETE: its
            # commit point (the truncation) is fsynced, the unlink of DELETE is not.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            return cls._of(connection, node_id)
        except sqlite3.Error as error:
            raise JournalError(f"cannot open the journal {path.name}: {error}") from error

    @classmethod
    def in_memory(cls, node_id: str, content: bytes = b"") -> Journal:
        """Open a journal without a file, which is lost when it is closed.

        It is a new one, or has the `content` of another; raises as `open`.
        """
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            # Small: most of the tables of most nodes are empty, and each takes a page.
            connection.execute("PRAGMA page_size = 512")
            if content:
                with closing(sqlite3.connect(":memory:")) as copy:
                    copy.deserialize(content)
                    copy.backup(connection)
            return cls._of(connection, node_id)
        except sqlite3.Error as error:
            raise JournalError(f"cannot open a journal in memory: {error}") from error

    @classmethod
    def _of(cls, connection: sqlite3.Connection, node_id: str) -> Journal:
        # Also in memory: what fails there counts as durable what would be so on a disk.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        journal = cls(connection)
        (version,) = journal._one("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise JournalError(f"the journal has schema version {version}, this version writes {SCHEMA_VERSION}")
        steps = [UPGRADES[n] for n in range(version + 1, SCHEMA_VERSION + 1)] if version else [SCHEMA]
        connection.executescript(f"BEGIN IMMEDIATE; {' '.join(steps)} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        with journal.transaction():
            new_node = "INSERT OR IGNORE INTO node (only, node_id, log_head, last_receipt_hash) VALUES (1, ?1, ?2, ?2)"
            journal._run(new_node, node_id, ZERO_HASH)
        if journal.node_id != node_id:
            raise JournalError(f"this is the journal of node {journal.node_id}, not of {node_id}")
        return journal

    @property
    def node_id(self) -> str:
        """Name of the node that it is of."""
        (node_id,) = self._one("SELECT node_id FROM node")
        return str(node_id)

    def content(self) -> bytes:
        """Return all that is in the journal, as a file of it would have it: a backup, for `in_memory`."""
        return self._connection.serialize()

    def close(self) -> None:
        """Close the file, or let go of what is in memory."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; durable when the block has ended.

        `JournalError` if the journal cannot be written (disk full, I/O error); nothing was.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalError(f"cannot write the journal: {error}") from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        self._position, self._costs, self._inference_counts = None, {}, None
        # SQLite has rolled back by itself after some errors (a full disk).
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _insert(self, table: str, *values: Any) -> None:
        self._run(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", *values)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._run(statement, *values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the journal: {error}") from error

    def _one(self, statement: str, *values: Any) -> Any:
        rows = self._all(statement, *values)
        return rows[0] if rows else None

    def check_chip(self, chip: ProgrammedChip) -> None:
        """Refuse to run what this node's chip was not programmed for.

        `JournalError` with what it was programmed for. Its cells would be taken for others, and its joules relabelled.
        """
        if (row := self._one("SELECT task, preset, fleet_seed FROM chip")) is None:
            return
        before = ProgrammedChip(*row)
        if before != chip:
            raise JournalError(
                f"this node's chip was programmed for --task {before.task} --preset {before.preset} "
                f"--fleet-seed {before.fleet_seed}, not for --task {chip.task} --preset {chip.preset} "
                f"--fleet-seed {chip.fleet_seed}: start it as before, or make a new node in another folder"
            )

    def note_chip(self, chip: ProgrammedChip, programmed_at_unix_ms: int) -> None:
        """Remember what the chip was programmed for, and when, the first time."""
        self._run("INSERT OR IGNORE INTO chip VALUES (1, ?, ?, ?, ?)", *vars(chip).values(), programmed_at_unix_ms)
        self._run("UPDATE chip SET programmed_at_unix_ms = ? WHERE programmed_at_unix_ms = 0", programmed_at_unix_ms)

    def programmed_at_unix_ms(self) -> int | None:
        """Return when the chip was programmed; None if it was not, or a version before wrote nothing of it."""
        row = self._one("SELECT programmed_at_unix_ms FROM chip")
        return row[0] or None if row else None

    # Position and counters

    def position(self) -> Position:
        """Return where the node stands."""
        if self._position is None:
            self._position = Position(
                *self._one("SELECT generation, log_head, receipt_counter, last_receipt_hash FROM node")
            )
        return self._position

    def inference_counts(self) -> tuple[int, int]:
        """Return the samples identified, and those refused for want of a lease."""
        served, refused = self._one("SELECT inferences, stale_refused FROM node")
        return served, refused

    def save_counters(self, costs: Mapping[Phase, Cost], inferences: int, stale_refused: int) -> None:
        """Store cumulative costs and inference counts."""
        if changed := {phase: cost for phase, cost in costs.items() if cost != self._costs.get(phase)}:
            self._connection.executemany("INSERT OR REPLACE INTO cost VALUES (?, ?, ?, ?, ?)", _cost_rows(changed))
            self._costs |= changed
        if (counts := (inferences, stale_refused)) != self._inference_counts:
            self._run("UPDATE node SET inferences = ?, stale_refused = ?", *counts)
            self._inference_counts = counts

    def costs(self) -> dict[Phase, Cost]:
        """Return the cumulative costs last saved; empty for a chip that was never programmed."""
        return {Phase(phase): Cost(*rest) for phase, *rest in self._all("SELECT * FROM cost")}

    def add_forget_cost(self, generation: int, costs: Mapping[Phase, Cost]) -> None:
        """Charge work to the forget of a generation."""
        self._connection.executemany(
            "INSERT INTO forget_cost VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " energy_j = energy_j + excluded.energy_j, seconds = seconds + excluded.seconds,"
            " bytes = bytes + excluded.bytes, cell_writes = cell_writes + excluded.cell_writes",
            [(generation, *row) for row in _cost_rows(costs) if any(row[1:])],
        )

    def forget_costs(self, generation: int) -> dict[Phase, Cost]:
        """Return what the forget of a generation has taken so far."""
        rows = self._all("SELECT * FROM forget_cost WHERE generation = ?", generation)
        return {Phase(phase): Cost(*rest) for _, phase, *rest in rows}

    # The forget log

    def append_forget(self, row: ForgetRow, tags: Iterable[str]) -> None:
        """Append an entry: log, tombstones and the node's generation move together."""
        self._insert("forget", *vars(row).values())
        # A tag that was forgotten before keeps its first tombstone.
        self._connection.executemany(
            "INSERT OR IGNORE INTO tombstone VALUES (?, ?)", [(tag, row.generation) for tag in tags]
        )
        self._run("UPDATE node SET generation = ?, log_head = ?", row.generation, row.payload_hash)
        self._position = replace(self.position(), generation=row.generation, log_head=row.payload_hash)

    def forget(self, generation: int) -> ForgetRow | None:
        """Return the entry of a generation."""
        row = self._one("SELECT * FROM forget WHERE generation = ?", generation)
        return ForgetRow(*row) if row else None

    def forget_hash(self, generation: int) -> bytes:
        """Return the payload hash of an entry that the node holds."""
        (payload_hash,) = self._one("SELECT payload_hash FROM forget WHERE generation = ?", generation)
        return bytes(payload_hash)

    def forgets_after(self, generation: int) -> list[bytes]:
        """Return the entries (serialised envelopes) above a generation, in order."""
        newer = "SELECT envelope FROM forget WHERE generation > ? ORDER BY generation"
        return [envelope for (envelope,) in self._all(newer, generation)]

    def tombstones(self) -> dict[str, int]:
        """Return every forgotten tag with the generation that named it first."""
        return dict(self._all("SELECT subject_tag, generation FROM tombstone"))

    def generations_without_receipt(self) -> list[int]:
        """Return the generations whose forget is still under way here, oldest first."""
        pending = "SELECT generation FROM forget WHERE generation NOT IN (SELECT generation FROM receipt) ORDER BY 1"
        return [generation for (generation,) in self._all(pending)]

    # Enrolments

    def save_enrolment(self, subject_tag: str, samples: int, ciphertext: bytes, ticket: bytes) -> None:
        """Store sealed codes in place of the tag's earlier ones; its sequence rises by one."""
        self._run(
            "INSERT INTO enrolment (subject_tag, sequence, samples, ciphertext, ticket) VALUES (?, 1, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET sequence = sequence + 1, refusal = '', samples = excluded.samples,"
            " ciphertext = excluded.ciphertext, ticket = excluded.ticket",
            *(subject_tag, samples, ciphertext, ticket),
        )

    def renew_ticket(self, subject_tag: str, ticket: bytes) -> None:
        """Let what the coordinator has refused, or has not acknowledged, go out again with another ticket."""
        self._run(
            "UPDATE enrolment SET sequence = sequence + 1, refusal = '', ticket = ?2 WHERE subject_tag = ?1"
            " AND ticket != ?2 AND (refusal != '' OR acked_sequence < sequence)",
            *(subject_tag, ticket),
        )

    def enrolments(self) -> list[EnrolmentRow]:
        """Return all enrolments, by tag: also those of forgotten tags that are not erased yet."""
        return [EnrolmentRow(*row) for row in self._all("SELECT * FROM enrolment ORDER BY subject_tag")]

    def enrolled(self) -> dict[str, int]:
        """Return the samples of each enrolment, by tag: of those that `enrolments` returns."""
        return dict(self._all("SELECT subject_tag, samples FROM enrolment"))

    def unacknowledged(self) -> list[EnrolmentRow]:
        """Return the enrolments, by tag, that the coordinator neither has nor refused, but for forgotten ones."""
        return [
            EnrolmentRow(*row)
            for row in self._all(
                "SELECT * FROM enrolment WHERE acked_sequence < sequence AND refusal = ''"
                " AND subject_tag NOT IN (SELECT subject_tag FROM tombstone) ORDER BY subject_tag"
            )
        ]

    def enrolment(self, subject_tag: str) -> EnrolmentRow | None:
        """Return one enrolment."""
        row = self._one("SELECT * FROM enrolment WHERE subject_tag = ?", subject_tag)
        return EnrolmentRow(*row) if row else None

    def acknowledge_contribution(self, subject_tag: str, sequence: int, refusal: str) -> None:
        """Note that the coordinator has, or has refused, the contribution up to this sequence."""
        self._run(
            "UPDATE enrolment SET acked_sequence = max(acked_sequence, ?2), refusal = ?3"
            " WHERE subject_tag = ?1 AND sequence >= ?2",
            *(subject_tag, sequence, refusal),
        )

    def acknowledge_only(self, sequences: Mapping[str, int]) -> None:
        """Note up to which sequence the coordinator has each contribution, and that it has nothing of the others."""
        self._run("UPDATE enrolment SET acked_sequence = 0")
        self._connection.executemany(
            "UPDATE enrolment SET acked_sequence = ?2 WHERE subject_tag = ?1", list(sequences.items())
        )

    # Revisions

    def activate_revision(self, row: RevisionRow) -> None:
        """Store a revision as the active one; the present one becomes superseded."""
        self._run("UPDATE revision SET state = 'superseded'")
        self._insert("revision", *vars(row).values())

    def active_revision(self) -> RevisionRow | None:
        """Return the active revision."""
        row = self._one("SELECT * FROM revision WHERE state = 'active'")
        return RevisionRow(*row) if row else None

    def superseded_revisions(self) -> list[RevisionRow]:
        """Return the revisions that are stored but no longer active."""
        return [RevisionRow(*row) for row in self._all("SELECT * FROM revision WHERE state = 'superseded'")]

    def delete_revisions(self, key_ids: Iterable[str]) -> None:
        """Delete superseded revisions by key id."""
        self._connection.executemany(
            "DELETE FROM revision WHERE key_id = ? AND state = 'superseded'", [(key_id,) for key_id in key_ids]
        )

    # Erasures and receipts

    def intend_erasure(self, generation: int, subject_keys: list[str], revision_keys: list[str]) -> None:
        """Write down which keys are about to be destroyed."""
        self._insert("erasure", generation, json.dumps(subject_keys), json.dumps(revision_keys), "intended")

    def finish_erasure(self, erasure: ErasureRow) -> None:
        """Delete what the destroyed keys had sealed."""
        self._connection.executemany(
            "DELETE FROM enrolment WHERE subject_tag = ?", [(tag,) for tag in erasure.subject_keys]
        )
        self.delete_revisions(erasure.revision_keys)
        self._run("UPDATE erasure SET state = 'done' WHERE generation = ?", erasure.generation)

    def erasure(self, generation: int) -> ErasureRow | None:
        """Return the erasure of a generation, if it has been begun."""
        row = self._one("SELECT * FROM erasure WHERE generation = ?", generation)
        return _erasure(row) if row else None

    def unfinished_erasures(self) -> list[ErasureRow]:
        """Return the erasures that a crash interrupted."""
        return [_erasure(row) for row in self._all("SELECT * FROM erasure WHERE state = 'intended'")]

    def append_receipt(self, row: ReceiptRow, payload_hash: bytes) -> None:
        """Append a receipt to the node's chain."""
        self._insert("receipt", *vars(row).values())
        self._run("UPDATE node SET receipt_counter = ?, last_receipt_hash = ?", row.counter, payload_hash)
        self._position = replace(self.position(), receipt_counter=row.counter, last_receipt_hash=payload_hash)

    def judge_receipt(self, counter: int, accepted: bool) -> None:
        """Note what the coordinator said of a receipt; an accepted one stays accepted."""
        state = ReceiptState.ACCEPTED if accepted else ReceiptState.REFUSED
        self._run("UPDATE receipt SET state = ? WHERE counter = ? AND state != 'accepted'", state, counter)

    def receipts(self, generation: int | None = None) -> list[ReceiptRow]:
        """Return the receipts of a generation, or all of them, oldest first."""
        rows = self._all("SELECT * FROM receipt WHERE ?1 IS NULL OR generation = ?1 ORDER BY counter", generation)
        return [
            ReceiptRow(counter, of, nonce, envelope, ReceiptState(state))
            for counter, of, nonce, envelope, state in rows
        ]


def _erasure(row: tuple[int, str, str, str]) -> ErasureRow:
    generation, subject_keys, revision_keys, state = row
    return ErasureRow(generation, tuple(json.loads(subject_keys)), tuple(json.loads(revision_keys)), state == "done")


def _cost_rows(costs: Mapping[Phase, Cost]) -> Iterator[tuple[str, float, float, int, int]]:
    for phase, cost in costs.items():
        yield phase.value, cost.energy_j, cost.seconds, cost.bytes, cost.cell_writes
