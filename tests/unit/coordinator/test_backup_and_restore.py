"""Backups of a coordinator, and restores in which nobody who was forgotten comes back."""

from __future__ import annotations

import shutil
import stat
import tarfile

import pytest
from reram_fleet.crypto.key_store import FileKeyStore
from reram_fleet.crypto.sealing import SealError, open_symmetric
from reram_fleet.processes.durable import locked

from fleet.coordinator.at_rest import contribution_at_rest
from fleet.coordinator.backup import back_up
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.nodes.report_checks import ReportError
from fleet.coordinator.restore import restore
from fleet.coordinator.testing import SteppedCoordinator
from fleet.errors import ConflictError, InvalidInputError
from fleet.store import Store
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, captured, newest
from tests.unit.coordinator.test_orphaned_keys import NEEDLES, files_with
from tests.unit.store.kinds import kept_in_either

PEOPLE = {ANN, BOB, CEM, DEB}


@pytest.fixture
def backup_with_secrets(folder, backup, tmp_path):
    back_up(folder, tmp_path / "with-secrets.tar.gz", with_secrets=True)
    return tmp_path / "with-secrets.tar.gz"


def forget(coordinator, nodes, tag):
    coordinator.forget(f"forget-{tag}", tag)
    coordinator.converse(*nodes)


def contributed(folder):
    """Return whom the coordinator's rows have sums of."""
    with Store.open(folder.database_url) as store, store.snapshot() as tx:
        return {row.tag for row in tx.subjects.contributions()}


def opened(folder, rows):
    """Return whose contributions of some rows open with any key that is in a folder."""
    keys = [FileKeyStore(folder.secrets).get(key_id) for key_id in FileKeyStore(folder.secrets).ids()]
    found = set()
    for row in rows:
        for key in keys:
            try:
                open_symmetric(key, contribution_at_rest(row.tag, row.node_id, row.sequence), row.ciphertext)
                found.add(row.tag)
            except SealError:
                continue
    return found


def reopen(folder, clock):
    """Return the coordinator of a restored folder, as far as it comes by itself."""
    coordinator = SteppedCoordinator(
        folder.root, now_ms=clock, database=None if folder.database else folder.database_url
    )
    while coordinator.step():
        pass
    return coordinator


@kept_in_either
def test_a_restored_coordinator_is_the_one_of_the_backup(folder, backup, coordinator, nodes, clock):
    before = newest(coordinator)
    coordinator.close()

    done = restore(folder, backup)
    restored = reopen(folder, clock)

    assert (done.generation_before, done.still_forgotten, done.without_key) == (0, (), ())
    assert newest(restored) == before
    restored.converse(*(node.twin() for node in nodes))
    campaign, _ = restored.forget("r1", ANN)
    assert campaign.generation == 1
    restored.close()


def test_a_backup_is_private_and_has_neither_a_person_nor_a_key_that_erases(backup, folder, nodes, tmp_path):
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with tarfile.open(backup) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {
            *("manifest.json", "fleet.db", "keys", "canary.json"),
        }
        archive.extractall(tmp_path / "unpacked", filter="data")
    keys = [FileKeyStore(folder.secrets).get(key_id) for key_id in FileKeyStore(folder.secrets).ids()]
    assert len(keys) > len(PEOPLE)
    assert files_with(tmp_path / "unpacked", [*NEEDLES, *keys]) == []


@kept_in_either
def test_who_was_forgotten_since_stays_forgotten_when_forgets_are_lost(
    folder, backup, coordinator, nodes, clock, tmp_path
):
    offline = nodes[0].twin()
    with coordinator.transaction() as unit:
        archived = unit.tx.subjects.contributions()
    forget(coordinator, nodes, ANN)
    coordinator.close()

    with pytest.raises(ConflictError, match="1 would be lost"):
        restore(folder, backup)
    done = restore(folder, backup, lose_forgets=True)

    assert done.still_forgotten == (ANN,)
    # Neither by what is here nor by what the backup has.
    assert contributed(folder) == PEOPLE - {ANN}
    assert opened(folder, archived) == PEOPLE - {ANN}
    assert files_with(tmp_path, NEEDLES) == []
    restored = reopen(folder, clock)
    # A node that has not heard of the forget says again what it knows of her.
    offline.capture(ANN, captured(7))
    for _ in range(2):
        restored.converse(offline, nodes[1])
    assert {subject.subject_tag for subject in newest(restored).subjects} >= PEOPLE - {ANN}
    assert ANN not in {subject.subject_tag for subject in newest(restored).subjects}
    restored.close()
    assert contributed(folder) == PEOPLE - {ANN}


def test_with_the_database_gone_the_keys_that_are_gone_tell_who_was_forgotten(folder, backup, coordinator, nodes):
    forget(coordinator, nodes, ANN)
    coordinator.close()
    folder.database.unlink()

    with pytest.raises(ConflictError, match="the keys of 1 people are gone"):
        restore(folder, backup)
    assert not contributed(folder)
    assert restore(folder, backup, lose_forgets=True).still_forgotten == (ANN,)
    assert contributed(folder) == PEOPLE - {ANN}


@pytest.mark.parametrize("database_is_gone", [False, True])
def test_no_key_comes_back_whose_owner_was_forgotten_since(
    folder, backup_with_secrets, coordinator, nodes, database_is_gone
):
    forget(coordinator, nodes, ANN)
    coordinator.close()
    before = FileKeyStore(folder.secrets).ids()
    (folder.secrets / f"subject-{BOB}.key").unlink()
    if database_is_gone:
        folder.database.unlink()

    done = restore(folder, backup_with_secrets, lose_forgets=True)

    after = FileKeyStore(folder.secrets).ids()
    assert f"subject-{ANN}" not in after
    # Who is known to stay gets back a key that was lost; without rows nobody is.
    assert after == before - ({f"subject-{BOB}"} if database_is_gone else set())
    assert done.keys_back == (0 if database_is_gone else 1)
    assert done.keys_refused > 0


def test_keys_of_everybody_come_back_to_an_empty_folder_only_if_that_is_said(
    backup_with_secrets, coordinator, nodes, tmp_path, clock
):
    before = newest(coordinator)
    elsewhere = CoordinatorFolder(tmp_path / "elsewhere")
    with pytest.raises(ConflictError, match="nothing here tells who was forgotten"):
        restore(elsewhere, backup_with_secrets)
    assert not elsewhere.secrets.exists()
    restore(elsewhere, backup_with_secrets, lose_forgets=True)
    restored = reopen(elsewhere, clock)
    assert newest(restored) == before
    restored.close()


def test_without_any_keys_nobody_is_forgotten_and_nodes_contribute_everybody_anew(backup, nodes, tmp_path, clock):
    elsewhere = CoordinatorFolder(tmp_path / "elsewhere")
    done = restore(elsewhere, backup)
    assert (done.still_forgotten, set(done.without_key)) == ((), PEOPLE)
    elsewhere.check()
    restored = reopen(elsewhere, clock)
    with restored.transaction() as unit:
        assert {subject.tag for subject in unit.tx.subjects.list() if not subject.canary} == PEOPLE
    assert contributed(elsewhere) == set()
    for _ in range(2):
        restored.converse(*nodes)
    assert contributed(elsewhere) == PEOPLE
    restored.close()


def test_nodes_that_were_retired_or_held_since_stay_so(folder, backup, coordinator, nodes, clock):
    with coordinator.transaction() as unit:
        unit.decisions.retire("node-1", "stolen", discard=False)
        unit.tx.nodes.hold("node-2", "it lies")
    coordinator.close()
    restore(folder, backup)
    restored = reopen(folder, clock)
    with pytest.raises(ReportError, match="retired"):
        restored.connect(nodes[0])
    with restored.transaction() as unit:
        assert [event.reason for _, event in unit.decisions.about("node-1")][-1] == "stolen"
        assert unit.tx.nodes.get("node-2").held_reason == "it lies"
        assert unit.tx.fleet.awaited() == ["node-2"]
    restored.close()


@pytest.mark.postgresql
def test_a_fleet_moves_from_sqlite_to_postgresql(backup, coordinator, tmp_path, postgres_url, clock):
    before = newest(coordinator)
    coordinator.close()
    moved = CoordinatorFolder(tmp_path / "moved", postgres_url)
    moved.create()
    shutil.copytree(tmp_path / "coordinator" / "secrets", moved.secrets)
    restore(moved, backup)
    restored = reopen(moved, clock)
    assert newest(restored) == before
    assert list(moved.root.rglob("*.db")) == []
    restored.close()


def test_a_coordinator_of_before_cannot_commit_into_what_was_restored(folder, backup, coordinator):
    restore(folder, backup)
    with pytest.raises(ConflictError, match="a restore leads this fleet"):
        coordinator.forget("r1", ANN)


def test_a_coordinator_that_serves_is_not_restored(folder, backup):
    with locked(folder.lock, wait=False), pytest.raises(ConflictError, match="serves from"):
        restore(folder, backup)


def test_another_fleet_is_left_alone(folder, backup, tmp_path, clock):
    other = SteppedCoordinator(tmp_path / "other", now_ms=clock)
    other.close()
    with pytest.raises(ConflictError, match="another fleet lives"):
        restore(CoordinatorFolder(tmp_path / "other"), backup)
    shutil.rmtree(tmp_path / "other" / "keys")
    with pytest.raises(ConflictError, match="the database holds fleet"):
        restore(CoordinatorFolder(tmp_path / "other"), backup)


def test_a_backup_is_not_written_over(folder, backup):
    content = backup.read_bytes()
    with pytest.raises(ConflictError, match="exists already"):
        back_up(folder, backup)
    assert backup.read_bytes() == content


def damaged(path, content):
    path.write_bytes(content)
    return path


def test_what_is_no_backup_changes_nothing(folder, backup, coordinator, tmp_path):
    coordinator.close()
    before = contributed(folder)
    content = backup.read_bytes()
    foreign = tmp_path / "foreign.tar.gz"
    with tarfile.open(foreign, "w:gz") as archive:
        archive.add(backup, arcname="keys/../../somewhere")
    for file in (
        damaged(tmp_path / "text", b"no archive"),
        damaged(tmp_path / "cut", content[: len(content) // 2]),
        foreign,
        tmp_path / "missing",
    ):
        with pytest.raises(InvalidInputError, match="is not a backup"):
            restore(folder, file)
    assert contributed(folder) == before
    assert not list(folder.root.glob(".restore-*"))
