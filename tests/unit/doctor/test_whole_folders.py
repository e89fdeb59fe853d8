"""Examination of a folder in which nothing is wrong, and of none at all."""

from __future__ import annotations

import stat

import pytest

from fleet.config import Context
from fleet.coordinator.folder import CoordinatorFolder
from fleet.doctor.examination import CHECKS, examine
from fleet.doctor.findings import State
from fleet.doctor.target import Target
from fleet.store.database import Store


def contents(folder):
    return {
        str(path.relative_to(folder)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


def test_a_whole_folder_has_no_failure_and_is_left_as_it_is(folder, found):
    before = contents(folder.root)

    findings = found()

    assert [each for each in findings if each.state in (State.FAILURE, State.WARNING)] == []
    assert {each.area for each in findings} == {area.name for area, _ in CHECKS}
    said = [each.found for each in findings if each.state is State.OK]
    assert any("entries in the forget log: 2, each signed" in each for each in said)
    assert any("fleet.db is whole" in each for each in said)
    assert contents(folder.root) == before


def test_a_folder_whose_coordinator_was_killed_is_read_with_what_it_wrote_last(folder, found):
    with Store.open(folder.database_url) as store:
        with store.transaction() as tx:
            tx.leadership.take("elsewhere:1")
        assert folder.database is not None
        assert folder.database.with_name("fleet.db-wal").stat().st_size
        before = {name: content for name, content in contents(folder.root).items() if not name.endswith("-shm")}
        assert any("led last by elsewhere:1" in each.found for each in found("database"))
        assert before.items() <= contents(folder.root).items()


def test_an_empty_machine_says_what_could_not_be_looked_at(tmp_path):
    for where in (None, CoordinatorFolder(tmp_path / "nothing")):
        states = {each.state for each in examine(Target.find(Context(), where))}
        assert states == {State.OK, State.UNKNOWN}
    assert not (tmp_path / "nothing").exists()


def test_no_finding_has_a_secret_in_it(folder, found):
    secrets = [path.read_bytes() for pattern in ("keys/*", "secrets/*") for path in folder.root.glob(pattern)]
    assert len(secrets) > 4
    text = repr(found()).encode()
    assert [each for each in secrets if each.strip() in text or each.hex().encode() in text] == []


@pytest.mark.parametrize("area", [area.name for area, _ in CHECKS])
def test_a_check_that_cannot_go_on_hides_no_other(folder, found, area):
    # Rows of another program: most checks cannot read them.
    folder.database.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    assert found(area), "every area is spoken of"
