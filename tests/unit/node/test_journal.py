"""Journal of a node: one suite over a file and over memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reram_fleet.crypto import sealing
from reram_fleet.crypto.identifiers import new_tag

from edge_node.config import StateFolder
from edge_node.errors import JournalError
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ProgrammedChip
from edge_node.storage.record_cipher import CapturedSamples, RecordCipher

Reopen = Callable[..., Journal]
CHIP = ProgrammedChip("speakers", "180nm-1t1r", 1)


@pytest.fixture
def reopen(storage: str, tmp_path: Path) -> Iterator[Reopen]:
    """Open the journal, at first a new one; once more, it is closed and opened again.

    `change` is what is done to its tables meanwhile.
    """
    path, opened = tmp_path / "journal.db", list[Journal]()

    def on_file(node_id: str, change: str) -> Journal:
        for journal in opened:
            journal.close()
        if change:
            with closing(sqlite3.connect(path)) as database:
                database.executescript(change)
        return Journal.open(path, node_id)

    def in_memory(node_id: str, change: str) -> Journal:
        content = opened[-1].content() if opened else b""
        for journal in opened:
            journal.close()
        if change:
            with closing(sqlite3.connect(":memory:")) as database:
                database.deserialize(content)
                database.executescript(change)
                content = database.serialize()
        return Journal.in_memory(node_id, content)

    def open_once_more(node_id: str = "node-1", change: str = "") -> Journal:
        journal = (on_file if storage == "files" else in_memory)(node_id, change)
        opened[:] = [journal]
        return journal

    yield open_once_more
    for journal in opened:
        journal.close()


@pytest.fixture
def cipher(storage: str, tmp_path: Path) -> RecordCipher:
    if storage == "memory":
        return RecordCipher.in_memory("node-1")
    StateFolder(tmp_path).create()
    return RecordCipher.of(StateFolder(tmp_path), "node-1")


def test_a_journal_belongs_to_one_node(reopen: Reopen) -> None:
    reopen("node-1")
    with pytest.raises(JournalError, match="of node node-1, not of node-2"):
        reopen("node-2")


def test_what_was_committed_is_there_when_it_is_opened_again(reopen: Reopen) -> None:
    journal, tag = reopen(), new_tag()
    with journal.transaction():
        journal.save_enrolment(tag, 1, b"sealed", b"ticket")
    (row,) = reopen().enrolments()
    assert (row.subject_tag, row.samples, row.ciphertext, row.ticket) == (tag, 1, b"sealed", b"ticket")


def test_a_failed_transaction_leaves_nothing(reopen: Reopen) -> None:
    journal = reopen()

    def interrupted() -> None:
        with journal.transaction():
            journal.save_enrolment(new_tag(), 1, b"sealed", b"ticket")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        interrupted()
    assert journal.enrolments() == []
    assert reopen().enrolments() == []


def test_content_of_a_journal_is_a_backup_that_goes_its_own_way(reopen: Reopen) -> None:
    journal, tag = reopen(), new_tag()
    with journal.transaction():
        journal.save_enrolment(tag, 1, b"sealed", b"ticket")
    backup = journal.content()
    with journal.transaction():
        journal.save_enrolment(new_tag(), 1, b"sealed", b"ticket")
    restored = Journal.in_memory("node-1", backup)
    assert [row.subject_tag for row in restored.enrolments()] == [tag]
    restored.close()
    assert len(journal.enrolments()) == 2


@pytest.mark.parametrize("other", [{"task": "images"}, {"preset": "22nm"}, {"fleet_seed": 2}], ids=str)
def test_a_journal_remembers_what_the_chip_was_programmed_for(reopen: Reopen, other: dict[str, object]) -> None:
    journal = reopen()
    journal.check_chip(CHIP)
    with journal.transaction():
        journal.note_chip(CHIP, 1000)
    journal = reopen()
    journal.check_chip(CHIP)
    with pytest.raises(JournalError, match="programmed for --task speakers --preset 180nm-1t1r --fleet-seed 1"):
        journal.check_chip(replace(CHIP, **other))


def test_a_journal_that_knows_no_chip_is_brought_up_to_date(reopen: Reopen) -> None:
    reopen()
    journal = reopen(
        change="DROP TABLE chip; ALTER TABLE enrolment RENAME COLUMN samples TO clips;"
        "UPDATE node SET inferences = 7; PRAGMA user_version = 2;"
    )
    assert journal.inference_counts() == (7, 0)
    with journal.transaction():
        journal.note_chip(CHIP, 1000)


def test_a_journal_remembers_when_the_chip_was_programmed_or_when_it_was_first_asked(reopen: Reopen) -> None:
    journal = reopen()
    assert journal.programmed_at_unix_ms() is None
    for now_ms in (1000, 2000):
        with journal.transaction():
            journal.note_chip(CHIP, now_ms)
        assert journal.programmed_at_unix_ms() == 1000

    before = reopen(change="ALTER TABLE chip DROP COLUMN programmed_at_unix_ms; PRAGMA user_version = 4;")
    assert before.programmed_at_unix_ms() is None
    with before.transaction():
        before.note_chip(CHIP, 3000)
    assert reopen().programmed_at_unix_ms() == 3000


def test_a_journal_of_a_later_version_is_refused(reopen: Reopen) -> None:
    reopen()
    with pytest.raises(JournalError, match="schema version 99"):
        reopen(change="PRAGMA user_version = 99;")


def test_samples_that_an_earlier_version_sealed_as_clips_are_opened(reopen: Reopen, cipher: RecordCipher) -> None:
    tag = new_tag()
    captured = CapturedSamples((bytes(32),), np.arange(8, dtype=np.int32)[None])
    key = cipher.subject_keys.get_or_create(tag)
    sealed = sealing.seal_symmetric(key, f"reram-fleet/node-clips/node-1/{tag}", captured.to_bytes())
    reopen()
    journal = reopen(
        change="ALTER TABLE enrolment RENAME COLUMN samples TO clips;"
        "ALTER TABLE chip DROP COLUMN programmed_at_unix_ms;"
        "INSERT INTO enrolment (subject_tag, sequence, clips, ciphertext)"
        f" VALUES ('{tag}', 1, 1, x'{sealed.hex()}'); PRAGMA user_version = 3;"
    )

    (row,) = journal.enrolments()

    assert row.samples == 1
    assert (cipher.open_samples(row).codes == captured.codes).all()


def test_what_is_no_journal_is_refused(storage: str, tmp_path: Path) -> None:
    content = b"not a database" * 100
    (tmp_path / "journal.db").write_bytes(content)
    opened = {
        "files": lambda: Journal.open(tmp_path / "journal.db", "node-1"),
        "memory": lambda: Journal.in_memory("node-1", content),
    }
    with pytest.raises(JournalError, match="cannot open"):
        opened[storage]()
