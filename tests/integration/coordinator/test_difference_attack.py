"""Before minus after a forget is the forgotten person: so it must not be possible to form it.

A real node's state machine and a real coordinator, with all their files. Whoever has a copy of both folders
from before the forget and one from after it, and every key that is left, opens what these keys open, and
compares: sums, Gram matrices, heads.
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.sealing import SealError, open_symmetric
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.config import StateFolder
from edge_node.storage.keys import NodeKeys
from edge_node.testing import FakeClock, FakeCoordinator, open_node
from fleet.coordinator.at_rest import contribution_at_rest, statistics_at_rest
from fleet.coordinator.testing import REGISTRY_KEY, SteppedCoordinator
from fleet.heads.packing import open_packed, sum_packed
from fleet.heads.statistics import HeadStatistics

#: A person by whom anybody would be recognised: the codes of three samples, eight features each.
PLANTED = np.array(
    [
        [1_234_567, -2_345_671, 3_456_712, -4_567_123, 5_671_234, -6_712_345, 7_123_456, -1_357_246],
        [2_234_561, -1_345_672, 4_456_713, -3_567_124, 6_671_235, -5_712_346, 1_123_457, -7_357_241],
        [3_134_562, -4_245_673, 1_356_714, -2_467_125, 7_571_236, -1_612_347, 6_023_451, -5_257_242],
    ],
    np.int32,
)
OTHERS = 3


def samples_of(codes: np.ndarray) -> list[np.ndarray]:
    """Return recordings that the engine captures as these codes: it rounds the sum over frames."""
    return [row[None].astype(np.float32) for row in codes]


def codes_of(person: int) -> np.ndarray:
    return np.random.default_rng(person).integers(-4_000_000, 4_000_000, (3, 8)).astype(np.int32)


@dataclass
class Loot:
    """Content of one copy of the files, as far as all the keys at hand open it.

    Attributes
    ----------
    sums, grams
        By tag: what was contributed.
    heads
        Every head in a revision, the coordinator's and the node's.
    unopened
        Ciphertexts that no key opens.
    """

    sums: dict[str, np.ndarray] = field(default_factory=dict)
    grams: dict[str, HeadStatistics] = field(default_factory=dict)
    heads: list[types.ClosedFormHead] = field(default_factory=list)
    unopened: int = 0


def keys_in(*folders: Path) -> dict[str, bytes]:
    """Return the content of every key file, whosever it is."""
    return {
        f"{number}/{path.stem}": path.read_bytes()
        for number, folder in enumerate(folders)
        for path in folder.rglob("*.key")
        if len(path.read_bytes()) == 32
    }


def plunder(files: Path, keys: Mapping[str, bytes]) -> Loot:
    """Try every key on every ciphertext of a copy: for its own purpose, or whatever it was sealed for."""
    loot = Loot()
    with TemporaryDirectory() as folder:
        # Opening a database changes it: its write-ahead log goes into it.
        copy = Path(folder) / "copy"
        shutil.copytree(files, copy)
        _plunder(copy, keys, loot)
    return loot


def _plunder(files: Path, keys: Mapping[str, bytes], loot: Loot) -> None:
    with closing(sqlite3.connect(files / "coordinator" / "fleet.db")) as database:
        columns = "tag, node_id, sequence, ciphertext"
        for tag, *row, content in database.execute(f"SELECT {columns} FROM contribution"):
            plain = opened(content, contribution_at_rest(tag, *row), keys, loot)
            if plain is not None:
                loot.sums[tag] = np.array(types.SubjectAdapter.FromString(plain).code_sum)
        for tag, *row, content in database.execute(f"SELECT {columns} FROM head_statistics"):
            plain = opened(content, statistics_at_rest(tag, *row), keys, loot)
            if plain is not None:
                loot.grams[tag] = sum_packed([open_packed(plain)])
        query = "SELECT key_id, ciphertext FROM revision WHERE ciphertext IS NOT NULL"
        for key_id, content in database.execute(query):
            plain = opened(content, key_id, keys, loot)
            if plain is not None:
                loot.heads.append(types.RevisionContent.FromString(plain).head)
    with closing(sqlite3.connect(files / "node" / "journal.db")) as database:
        for key_id, content in database.execute("SELECT key_id, ciphertext FROM revision"):
            plain = opened(content, f"reram-fleet/node-revision/node-1/{key_id}", keys, loot)
            if plain is not None:
                loot.heads.append(types.RevisionContent.FromString(plain).head)
        for tag, content in database.execute("SELECT subject_tag, ciphertext FROM enrolment"):
            opened(content, f"reram-fleet/node-clips/node-1/{tag}", keys, loot)


def opened(content: bytes, purpose: str, keys: Mapping[str, bytes], loot: Loot) -> bytes | None:
    for key in keys.values():
        try:
            return open_symmetric(key, purpose, content)
        except SealError:
            continue
    loot.unopened += 1
    return None


@dataclass(frozen=True)
class Heist:
    """Copies of all files from before and after the forget, and the tags."""

    before: Path
    after: Path
    now: Path
    planted: str
    others: tuple[str, ...]


@pytest.fixture(scope="module")
def heist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heist]:
    root = tmp_path_factory.mktemp("heist")
    now = root / "now"
    coordinator = SteppedCoordinator(now / "coordinator", codes=CodeRange(8, 2**24 - 1))
    keys = coordinator.coordinator.env.keys
    fake = FakeCoordinator(coordinator.coordinator.env.fleet_id, keys.command_key, keys.sealing_key, REGISTRY_KEY)
    with coordinator.transaction() as unit:
        unit.decisions.enroll(NodeKeys.create(StateFolder(now / "node"), "node-1").identity)
    node = open_node(now / "node", fake, FakeClock())
    try:
        planted, *others = sorted(new_tag() for _ in range(OTHERS + 1))
        node.enroll(fake.consent(planted), samples_of(PLANTED))
        for person, tag in enumerate(others):
            node.enroll(fake.consent(tag), samples_of(codes_of(person)))
        coordinator.converse(node)
        assert planted in active_head(node).subject_tags
        shutil.copytree(now, root / "before")
        made, _ = coordinator.forget("r1", planted)
        coordinator.converse(node)
        with coordinator.transaction() as unit:
            assert unit.tx.forgets.get(made.campaign_id).state == "converged"
            assert {e.state for e in unit.tx.forgets.executions(made.campaign_id)} == {"verified"}
        assert list(active_head(node).subject_tags) == others
        shutil.copytree(now, root / "after")
        yield Heist(root / "before", root / "after", now, planted, tuple(others))
    finally:
        node.close()
        coordinator.close()


def active_head(node: Node) -> types.ClosedFormHead:
    return node.context.engine.active_head(0) or types.ClosedFormHead()


def needles(heist: Heist) -> dict[bytes, str]:
    """Return what the person looks like in bytes: codes, sum, Gram matrix, column, difference of heads."""
    everything = plunder(heist.before, keys_in(heist.before))
    (before, *_), (after, *_) = everything.heads, plunder(heist.after, keys_in(heist.after)).heads
    gram = everything.grams[heist.planted].gram
    columns = np.frombuffer(before.codes, "<i4").reshape(8, -1)
    kept = [k for k, tag in enumerate(before.subject_tags) if tag != heist.planted]
    difference = columns[:, kept] - np.frombuffer(after.codes, "<i4").reshape(8, -1)
    assert np.abs(difference).min() > 0
    column = columns[:, list(before.subject_tags).index(heist.planted)]
    total = PLANTED.sum(axis=0, dtype=np.int64)
    arrays = {
        "codes": PLANTED,
        "a sample": PLANTED[0],
        "sum": total,
        "Gram matrix": gram,
        "packed Gram matrix": gram[np.triu_indices(8)],
        "row of the Gram matrix": gram[0],
        "column": column,
        "difference of heads": difference,
    }
    found = {
        array.astype(kind).tobytes(): f"{name} as {kind}"
        for (name, array), kind in itertools.product(arrays.items(), ("<i4", "<i8", "<f4", "<f8"))
    }
    found[before.codes] = "head before"
    found[types.SubjectAdapter(code_sum=total.tolist()).SerializeToString()] = "sum as protobuf"
    return found


def test_keys_of_before_open_everything_so_the_right_things_are_looked_for(heist: Heist) -> None:
    loot = plunder(heist.before, keys_in(heist.before))
    assert loot.unopened == 0
    assert loot.grams[heist.planted].equals(HeadStatistics.of(PLANTED))
    assert np.array_equal(loot.sums[heist.planted], PLANTED.sum(axis=0))
    assert len(loot.heads) == 2
    assert loot.heads[0] == loot.heads[1]


def test_no_byte_of_the_person_their_gram_or_their_head_is_in_any_file(heist: Heist, tmp_path: Path) -> None:
    wanted = needles(heist)
    (tmp_path / "leak").write_bytes(b"x" + next(iter(wanted)))
    assert leaks(tmp_path, wanted)
    for folder in (heist.before, heist.after, heist.now):
        names = {path.name for path in folder.rglob("*")}
        assert {"fleet.db", "fleet.db-wal", "journal.db"} <= names
        assert not leaks(folder, wanted)


def leaks(folder: Path, wanted: Mapping[bytes, str]) -> set[tuple[str, str]]:
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        (path.name, name) for path, content in files.items() for needle, name in wanted.items() if needle in content
    }


def test_backup_of_before_opened_with_all_keys_that_are_left_gives_no_difference(heist: Heist) -> None:
    left = keys_in(heist.after)
    before, after = plunder(heist.before, left), plunder(heist.after, left)
    # Whoever stays can still be read, and is the same before and after: their difference is nothing.
    assert set(before.sums) == set(before.grams) == set(heist.others)
    for tag in heist.others:
        assert np.array_equal(before.sums[tag], after.sums[tag])
        assert before.grams[tag].equals(after.grams[tag])
    # The head of before stays shut, wherever it lies: no (head before - head after).
    assert before.heads == []
    assert {tuple(head.subject_tags) for head in after.heads} == {heist.others}
    # The person's sum, statistics and codes, and the two copies of the revision.
    assert before.unopened == 5
    assert after.unopened == 0


def test_statistics_of_today_add_up_to_those_who_are_left_and_no_more(heist: Heist) -> None:
    """No total over several people is stored: the only one that can be formed is that of who is left."""
    after = plunder(heist.after, keys_in(heist.after))
    expected = HeadStatistics.of(np.concatenate([codes_of(person) for person in range(OTHERS)]))
    found = sum(after.grams.values(), start=HeadStatistics.zero(8))
    assert found.equals(expected)
    for head in after.heads:
        assert heist.planted not in head.subject_tags
