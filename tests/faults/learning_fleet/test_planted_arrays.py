"""Whoever gets the disks of coordinator, nodes and SuperLink finds nobody in them, and no forgotten one ever.

The arrays that stand for a person are read out of the fleet's own files, with the keys of before the forget;
then every file of before and after it is searched for their bytes.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto.key_store import FileKeyStore
from reram_fleet.crypto.sealing import SealError, job_key_purpose, open_sealed, open_symmetric
from reram_fleet.errors import KeyFileError
from reram_fleet.v1 import types_pb2 as types

from edge_node.config import StateFolder
from edge_node.storage.journal import Journal
from edge_node.storage.record_cipher import CapturedSamples, RecordCipher
from fleet.coordinator.at_rest import contribution_at_rest, statistics_at_rest, subject_key_id
from fleet.errors import NotFoundError
from fleet.local.layout import Layout
from fleet.store.database import Store
from tests.faults.learning_fleet.story import Story
from tests.faults.planted import files_with, integer_pieces, lora_row, pieces, row_pieces

pytestmark = pytest.mark.slow

NODES = ("node-1", "node-2")
#: Folders (and files) that hold keys; everything else is what a backup would take.
KEYS = ("keys", "secrets", "subject-keys", "revision-keys", "canary.json")


@dataclass(frozen=True)
class Thief:
    """Somebody with a copy of the files: they open what the keys beside them open.

    Parameters
    ----------
    files
        Where the databases are.
    keys
        Where the key folders are: of the same copy, or of another moment.
    """

    files: Layout
    keys: Layout

    def samples(self, node_id: str, tag: str) -> CapturedSamples:
        """Open the codes that a node captured of somebody."""
        journal = self._journal(node_id)
        try:
            row = journal.enrolment(tag)
            assert row is not None, f"{node_id} has nothing of {tag}"
            return self._cipher(node_id).open_samples(row)
        finally:
            journal.close()

    def revision(self, node_id: str) -> types.RevisionContent:
        """Open the revision that was active on a node."""
        journal = self._journal(node_id)
        try:
            row = journal.active_revision()
            assert row is not None, f"{node_id} has no revision"
            return self._cipher(node_id).open_revision(row)
        finally:
            journal.close()

    def contributions(self, tag: str) -> list[types.SubjectAdapter]:
        """Open what the coordinator has of somebody, by node."""
        with self._store() as store, store.snapshot() as tx:
            key_id = subject_key_id(tag)
            return [
                types.SubjectAdapter.FromString(
                    open_symmetric(
                        self._secrets.get(key_id), contribution_at_rest(tag, row.node_id, row.sequence), row.ciphertext
                    )
                )
                for row in tx.subjects.contributions(tag)
            ]

    def statistics(self, tag: str) -> list[bytes]:
        """Open the packed Gram matrices that the coordinator has of somebody, by node."""
        with self._store() as store, store.snapshot() as tx:
            key_id = subject_key_id(tag)
            return [
                open_symmetric(
                    self._secrets.get(key_id), statistics_at_rest(tag, row.node_id, row.sequence), row.ciphertext
                )
                for row in tx.heads.statistics()
                if row.tag == tag
            ]

    def newest_revision(self) -> types.RevisionContent:
        """Open the coordinator's newest revision."""
        with self._store() as store, store.snapshot() as tx:
            row = tx.revisions.latest()
            assert row is not None
            assert row.ciphertext is not None
            key_id = row.key_id
            return types.RevisionContent.FromString(open_symmetric(self._secrets.get(key_id), key_id, row.ciphertext))

    def _store(self) -> Store:
        return Store.open(f"sqlite:///{self.files.coordinator / 'fleet.db'}")

    @property
    def _secrets(self) -> FileKeyStore:
        return FileKeyStore(self.keys.coordinator / "secrets")

    def _journal(self, node_id: str) -> Journal:
        return Journal.open(StateFolder(self.files.node(node_id)).journal, node_id)

    def _cipher(self, node_id: str) -> RecordCipher:
        folder = StateFolder(self.keys.node(node_id))
        return RecordCipher(node_id, FileKeyStore(folder.subject_keys), FileKeyStore(folder.revision_keys))


@pytest.fixture(scope="module")
def opened(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Thief:
    """A copy of the backup, with its keys, that may be written to."""
    copy = Layout(tmp_path_factory.mktemp("opened") / "copy")
    shutil.copytree(story.backup.root, copy.root)
    return Thief(copy, copy)


@pytest.fixture(scope="module")
def stolen(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The backup as backups should be: without the folders of keys."""
    copy = Layout(tmp_path_factory.mktemp("stolen") / "copy")
    shutil.copytree(story.backup.root, copy.root, ignore=shutil.ignore_patterns(*KEYS))
    return copy


def columns(head: types.ClosedFormHead) -> dict[str, np.ndarray]:
    """Return the columns of a head, int32 [features] by tag."""
    codes = np.frombuffer(head.codes, "<i4").reshape(head.features, len(head.subject_tags))
    return {tag: codes[:, k] for k, tag in enumerate(head.subject_tags)}


@pytest.fixture(scope="module")
def today(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Thief:
    """A copy of what there is after the forget, with the keys that are left, that may be written to."""
    copy = Layout(tmp_path_factory.mktemp("today") / "copy")
    shutil.copytree(story.now.root, copy.root)
    return Thief(copy, copy)


@pytest.fixture(scope="module")
def arrays(story: Story, opened: Thief, today: Thief) -> dict[bytes, str]:
    """Pieces of everything that stands for the forgotten person, to what they are."""
    tag = story.forgotten
    found: dict[bytes, str] = {}
    total = np.zeros(0, np.int64)
    for node_id in NODES:
        samples = opened.samples(node_id, tag)
        for number, codes in enumerate(samples.codes):
            found |= integer_pieces(f"codes of sample {number} on {node_id}", codes.tolist())
        for content in samples.hashes:
            found |= pieces(f"hash of a sample on {node_id}", content)
        mine = samples.codes.sum(axis=0, dtype=np.int64)
        found |= integer_pieces(f"sum of {node_id}", mine.tolist())
        total = mine if not total.size else total + mine
    found |= integer_pieces("sum over the fleet", total.tolist())
    lora = opened.revision(NODES[0]).shared_lora
    (row,) = [np.asarray(row.codes, np.int64) for row in lora.rows if row.subject_tag == tag]
    found |= integer_pieces("row of the LoRA", row.tolist())
    found |= row_pieces("row of the LoRA", row)
    found |= row_pieces("row of the LoRA after the first round", lora_row(story.checkpoint, tag))
    for number, packed in enumerate(opened.statistics(tag)):
        found |= pieces(f"Gram matrix {number}", packed[len(packed) // 2 :])
    before, after = columns(opened.newest_revision().head), columns(today.newest_revision().head)
    found |= pieces("column of the head", before[tag].tobytes())
    found |= pieces("head before", opened.newest_revision().head.codes)
    difference = before[story.kept].astype(np.int64) - after[story.kept]
    assert np.count_nonzero(difference) > len(difference) // 2
    found |= integer_pieces("head before minus head after", difference.tolist())
    kinds = {name.rsplit(" as ", 1)[-1] for name in found.values()}
    assert {"int32", "int64", "protobuf", "int16"} <= kinds
    return found


def test_sums_of_coordinator_and_nodes_agree_so_the_right_arrays_are_searched(story: Story, opened: Thief) -> None:
    told = {tuple(adapter.code_sum) for adapter in opened.contributions(story.forgotten)}
    captured = {tuple(opened.samples(node_id, story.forgotten).adapter(story.forgotten).code_sum) for node_id in NODES}
    assert told == captured
    assert len(told) == len(NODES)


def test_search_finds_what_is_planted_in_a_file(arrays: dict[bytes, str], tmp_path: Path) -> None:
    needle = next(iter(arrays))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "leak.db-wal").write_bytes(b"\0" * 5000 + needle + b"\0" * 5000)
    assert list(files_with(tmp_path, arrays)) == [(Path("folder/leak.db-wal"), needle)]


@pytest.mark.parametrize("moment", ["backup", "now"])
def test_no_file_ever_holds_what_stands_for_a_person(story: Story, arrays: dict[bytes, str], moment: str) -> None:
    folder = getattr(story, moment).root
    searched = {path.name for path in folder.rglob("*")}
    assert {"fleet.db", "fleet.db-wal", "superlink.db", "journal.db"} <= searched
    # The log says that the tag was forgotten: the search does look into these files.
    assert {path.name for path, _ in files_with(folder, [story.forgotten.encode()])} >= {"journal.db"}
    leaks = {(str(path), arrays[needle]) for path, needle in files_with(folder, arrays)}
    assert not leaks


def test_keys_of_a_forgotten_person_are_gone_everywhere(story: Story) -> None:
    def keys_of(layout: Layout, tag: str) -> set[str]:
        return {str(path.relative_to(layout.root)) for path in layout.root.rglob(f"*{tag}*.key")}

    coordinator = f"coordinator/secrets/subject-{story.forgotten}.key"
    nodes = {f"nodes/{node_id}/subject-keys/{story.forgotten}.key" for node_id in NODES}
    assert keys_of(story.backup, story.forgotten) == {coordinator, *nodes}
    assert keys_of(story.now, story.forgotten) == set()
    assert keys_of(story.now, story.kept)
    # Jobs and revisions that knew the person: theirs as well.
    assert not list((story.now.coordinator / "secrets").glob("job-*"))
    for node_id in NODES:
        before, after = (
            {path.name for path in (layout.node(node_id) / "revision-keys").glob("*.key")}
            for layout in (story.backup, story.now)
        )
        assert before
        assert not before & after


def test_backup_without_its_keys_opens_for_nobody_with_the_keys_of_today(story: Story, stolen: Layout) -> None:
    thief = Thief(stolen, story.now)
    for node_id in NODES:
        with pytest.raises(KeyFileError, match="missing"):
            thief.samples(node_id, story.forgotten)
        with pytest.raises(KeyFileError, match="missing"):
            thief.revision(node_id)
        # Nothing but the key is missing: whoever was kept can be read with theirs.
        assert len(thief.samples(node_id, story.kept).codes)
    with pytest.raises(NotFoundError):
        thief.contributions(story.forgotten)
    with pytest.raises(NotFoundError):
        thief.statistics(story.forgotten)
    # Neither the head of before opens nor the forgotten's Gram matrix: nothing to subtract from, or with.
    with pytest.raises(NotFoundError):
        thief.newest_revision()
    assert len(thief.contributions(story.kept)) == len(NODES)
    assert len(thief.statistics(story.kept)) == len(NODES)


def test_statistics_of_those_who_stay_are_the_same_before_and_after(story: Story, opened: Thief, today: Thief) -> None:
    """No total over several people is kept, so nothing that is left has changed by the forgotten."""
    assert opened.statistics(story.kept) == today.statistics(story.kept)
    assert len(opened.statistics(story.forgotten)) == len(NODES)
    assert set(opened.newest_revision().head.subject_tags) == {story.kept, story.forgotten}


def test_forgotten_person_is_in_no_store_of_today(story: Story, today: Thief) -> None:
    assert today.contributions(story.forgotten) == []
    assert today.statistics(story.forgotten) == []
    contents = [today.newest_revision(), *(today.revision(node_id) for node_id in NODES)]
    for content in contents:
        tags = {s.subject_tag for s in content.subjects} | {r.subject_tag for r in content.shared_lora.rows}
        assert story.forgotten not in tags | set(content.head.subject_tags)
        assert story.kept in tags & set(content.head.subject_tags)


def tickets_in(layout: Layout) -> list[types.JobTicket]:
    """Return the job tickets whose bytes are in the SuperLink's files, deleted pages and WAL included."""
    found = []
    for path in sorted((layout.coordinator / "flower").glob("superlink.db*")):
        content = path.read_bytes()
        for match in re.finditer(re.escape(types.JobTicket.DESCRIPTOR.full_name.encode()), content):
            # An Envelope: its first field is the type's name, so it begins two bytes before.
            envelope = _longest_envelope(content[match.start() - 2 : match.start() + 4096])
            if envelope is not None:
                found.append(types.JobTicket.FromString(envelope.payload))
    return found


def _longest_envelope(content: bytes) -> types.Envelope | None:
    for length in range(200, len(content)):
        try:
            envelope = types.Envelope.FromString(content[:length])
        except DecodeError:
            continue
        if len(envelope.signature) == 64:
            return envelope
    return None


def test_keys_that_are_left_open_no_job_key_in_the_superlinks_database(story: Story) -> None:
    tickets = tickets_in(story.now)
    # Else they were not looked for rightly.
    assert types.LEARNING_KIND_TRAIN_LORA in {ticket.kind for ticket in tickets}
    files = {node_id: story.now.node(node_id) / "keys" / "sealing.key" for node_id in NODES}
    keys = {node: X25519PrivateKey.from_private_bytes(path.read_bytes()) for node, path in files.items()}
    for ticket in tickets:
        with pytest.raises(SealError):
            open_sealed(keys[ticket.node_id], job_key_purpose(ticket.job_id, ticket.node_id), ticket.job_key)
