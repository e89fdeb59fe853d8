"""Disk of the coordinator after a forget: nothing of the person, and no key to what was."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from reram_fleet.crypto.sealing import open_symmetric
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import contribution_at_rest
from fleet.coordinator.testing import SteppedCoordinator
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, code_sum, newest


def planted(person):
    """Return byte strings by which somebody's sum would be recognised in a file."""
    sums = code_sum(person)
    arrays = [np.array(sums).astype(kind).tobytes() for kind in ("<i4", "<i8", "<f4", "<f8", ">i4", ">i8")]
    packed = types.SubjectAdapter(code_sum=sums).SerializeToString()
    return [*arrays, packed, ", ".join(map(str, sums)).encode()]


#: Ann's.
NEEDLES = planted(0)


def files_with(folder, needles):
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def key_ids(coordinator):
    return set(coordinator.coordinator.env.secrets.ids())


def test_needles_are_found_where_they_are(tmp_path, nodes):
    assert nodes[1].active()[ANN].SerializeToString().find(NEEDLES[6]) > 0
    (tmp_path / "leak").write_bytes(b"before" + NEEDLES[1] + b"after")
    assert files_with(tmp_path, NEEDLES) == [tmp_path / "leak"]


def test_nothing_of_a_person_is_in_any_file_before_or_after_a_forget(tmp_path, coordinator, nodes):
    assert files_with(tmp_path, NEEDLES) == []
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert files_with(tmp_path, NEEDLES) == []


def test_forget_destroys_the_key_of_the_person_and_of_nobody_else(coordinator, nodes):
    people = {f"subject-{tag}" for tag in (ANN, BOB, CEM, DEB)}
    assert people < key_ids(coordinator)
    coordinator.forget("r1", ANN)
    assert people & key_ids(coordinator) == people - {f"subject-{ANN}"}


def test_person_is_in_no_revision_from_the_commit_on_however_long_the_next_one_takes(coordinator, nodes):
    assert ANN in {subject.subject_tag for subject in newest(coordinator).subjects}
    campaign, _ = coordinator.forget("r1", ANN)
    left = {subject.subject_tag for subject in newest(coordinator).subjects}
    assert not left & set(campaign.tags)
    assert {BOB, CEM, DEB} < left


def test_keys_left_are_those_of_the_living_and_of_the_newest_revision(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        number = unit.tx.revisions.latest().revision
    assert key_ids(coordinator) == {f"revision-{number}", *(f"subject-{tag}" for tag in (BOB, CEM, DEB))}


def test_kill_between_commit_and_destruction_leaves_no_key_after_the_restart(open_coordinator, coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.campaigns.create("r1", [ANN], allow_unknown=False)
    assert f"subject-{ANN}" in key_ids(coordinator)
    assert f"subject-{ANN}" not in key_ids(open_coordinator())


def test_key_of_a_transaction_that_was_rolled_back_is_destroyed(coordinator, nodes):
    coordinator.coordinator.env.secrets.create("subject-" + "e" * 32)
    coordinator.coordinator.env.secrets.create("revision-999")
    coordinator.destroy_orphaned_keys()
    assert not {"subject-" + "e" * 32, "revision-999"} & key_ids(coordinator)


def test_backup_from_before_the_forget_opens_with_the_keys_of_that_time_only(tmp_path, coordinator, nodes):
    with coordinator.transaction() as unit:
        (row,) = unit.tx.subjects.contributions(ANN)
    key = coordinator.coordinator.env.secrets.get(f"subject-{ANN}")
    assert ANN.encode() in open_symmetric(key, contribution_at_rest(ANN, "node-1", row.sequence), row.ciphertext)
    shutil.copytree(tmp_path / "coordinator", tmp_path / "backup", ignore=shutil.ignore_patterns("secrets"))
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    shutil.copytree(tmp_path / "coordinator" / "secrets", tmp_path / "backup" / "secrets")
    restored = SteppedCoordinator(tmp_path / "backup")
    try:
        with restored.transaction() as unit:
            assert unit.tx.subjects.contributions(ANN)
        assert f"subject-{ANN}" not in restored.coordinator.env.secrets.ids()
    finally:
        restored.close()
    assert files_with(tmp_path, [key]) == []


def test_older_revisions_are_wiped_since_the_difference_of_two_is_a_person(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        *older, latest = unit.tx.revisions.list()
    assert older
    assert all(row.ciphertext is None for row in older)
    assert latest.ciphertext is not None


@pytest.mark.parametrize("forgotten", [0, 1, 2])
def test_revisions_are_dense_whatever_happens_between(coordinator, nodes, forgotten):
    for number, tag in enumerate((ANN, BOB)[:forgotten]):
        coordinator.forget(f"r{number}", tag)
        coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        numbers = [row.revision for row in unit.tx.revisions.list()]
        assert unit.tx.fleet.get().desired_revision == numbers[-1]
    assert numbers == list(range(1, len(numbers) + 1))
