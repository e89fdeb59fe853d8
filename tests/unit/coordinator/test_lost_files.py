"""Keys and databases are made once: what is missing later was lost, and is never silently made anew."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from reram_fleet.errors import KeyFileError

from fleet.coordinator.folder import IncompleteFolderError
from fleet.coordinator.testing import SteppedCoordinator
from fleet.errors import ConflictError, StoreError
from fleet.store import Store
from fleet.trust.keys import CoordinatorKeys


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return the folder of a coordinator that has served."""
    folder = tmp_path_factory.mktemp("served") / "coordinator"
    SteppedCoordinator(folder).close()
    # As the process leaves it.
    (folder / "serve.port").write_text("50051")
    return folder


@pytest.fixture
def state(served, tmp_path):
    return shutil.copytree(served, tmp_path / "coordinator")


@pytest.mark.parametrize("name", ["fleet.db", *(f"keys/{name}" for name in CoordinatorKeys.FILES)])
@pytest.mark.parametrize("marked", [True, False], ids=["", "folder of an earlier version"])
def test_a_coordinator_that_has_lost_a_file_is_refused_and_nothing_is_made(state, name, marked):
    (state / name).unlink()
    if not marked:
        (state / "fleet.made").unlink()
    before = contents(state)
    with pytest.raises(IncompleteFolderError, match=f"but {name} is missing") as refused:
        SteppedCoordinator(state)
    assert "backup" in refused.value.hint
    assert contents(state) == before


def test_a_coordinator_whose_keys_are_all_gone_is_refused(state):
    shutil.rmtree(state / "keys")
    lost = "keys/command.key, keys/sealing.key, keys/operator.token, keys/learning.token are"
    with pytest.raises(IncompleteFolderError, match=lost):
        SteppedCoordinator(state)
    assert not (state / "keys").exists()


def test_a_database_that_was_emptied_is_refused(state):
    (state / "fleet.db").write_bytes(b"")
    with pytest.raises(IncompleteFolderError, match=r"fleet\.db is missing or empty"):
        SteppedCoordinator(state)
    assert (state / "fleet.db").read_bytes() == b""


def test_a_folder_whose_database_is_elsewhere_is_not_served_without_it(state, tmp_path):
    # As a coordinator leaves it whose database is elsewhere.
    for path in state.glob("fleet.db*"):
        path.unlink()
    with pytest.raises(IncompleteFolderError, match=r"fleet\.db is missing") as refused:
        SteppedCoordinator(state)
    assert "--database" in refused.value.hint
    with pytest.raises(StoreError, match="the database knows no fleet, but there was one"):
        SteppedCoordinator(state, database=f"sqlite:///{tmp_path}/empty.db")


def test_a_database_of_another_fleet_is_refused(state, tmp_path):
    url = f"sqlite:///{state}/fleet.db"
    with pytest.raises(ConflictError, match="the fleet in this database follows command key"):
        SteppedCoordinator(tmp_path / "fresh", database=url)
    with Store.open(url) as store, store.snapshot() as tx:
        # Whoever leads this fleet goes on.
        assert tx.leadership.get().epoch == 1


@pytest.mark.parametrize("made", [(), ("keys",), ("keys", "fleet.db")], ids=["nothing", "keys", "and database"])
def test_a_crash_in_the_very_first_start_is_recovered_from(state, made):
    for path in state.iterdir():
        if path.name not in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # What a crash leaves while keys are being written.
    (state / ".keys.new").mkdir(exist_ok=True)
    (state / ".keys.new" / "command.key").write_bytes(bytes(32))
    kept = contents(state / "keys") if "keys" in made else None
    with closing(SteppedCoordinator(state)) as coordinator:
        assert coordinator.coordinator.env.fleet_id
    assert kept is None or contents(state / "keys") == kept


@pytest.mark.parametrize("token", ["operator.token", "learning.token"])
@pytest.mark.parametrize("content", [b"", b"\n", b"short", b" " * 43, b"\xff" * 43])
def test_a_token_that_would_open_to_anybody_is_refused_at_the_start(state, token, content):
    (state / "keys" / token).write_bytes(content)
    with pytest.raises(KeyFileError, match=f"keys/{token} opens nothing"):
        SteppedCoordinator(state)
