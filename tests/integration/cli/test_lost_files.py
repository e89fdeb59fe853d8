"""Keys and databases are made once: what is missing later was lost, and is never silently made anew."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from reram_fleet.processes.flower import program

from fleet.store import Store
from fleet.trust.keys import CoordinatorKeys
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually

EDGE_NODE = [sys.executable, "-c", "from edge_node.cli import main; main()"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def serve(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(program("fleet"), "serve", "--no-flower", "--state", str(state), *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a coordinator that has served, and ended."""
    coordinator = CoordinatorProcess(tmp_path_factory.mktemp("served") / "coordinator")
    coordinator.start()
    coordinator.kill()
    return coordinator.state


@pytest.fixture
def state(served: Path, tmp_path: Path) -> Path:
    return shutil.copytree(served, tmp_path / "coordinator")


@pytest.fixture
def started() -> Iterator[list[CoordinatorProcess]]:
    running: list[CoordinatorProcess] = []
    yield running
    for coordinator in running:
        coordinator.kill()


@pytest.mark.parametrize("name", ["fleet.db", *(f"keys/{name}" for name in CoordinatorKeys.FILES)])
@pytest.mark.parametrize("marked", [True, False], ids=["", "folder of an earlier version"])
def test_a_coordinator_that_has_lost_a_file_is_refused_and_nothing_is_made(state, name, marked):
    (state / name).unlink()
    if not marked:
        (state / "fleet.made").unlink()
    before = contents(state)
    done = serve(state)
    assert done.returncode == 1
    assert f"but {name} is missing" in done.stderr
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(state) == before


def test_a_coordinator_whose_keys_are_all_gone_is_refused(state):
    shutil.rmtree(state / "keys")
    done = serve(state)
    assert done.returncode == 1
    assert "keys/command.key, keys/sealing.key, keys/operator.token, keys/learning.token are" in done.stderr
    assert not (state / "keys").exists()


def test_a_database_that_was_emptied_is_refused(state):
    for path in state.glob("fleet.db*"):
        path.write_bytes(b"")
    done = serve(state)
    assert done.returncode == 1
    assert "fleet.db is missing or empty" in done.stderr
    assert (state / "fleet.db").read_bytes() == b""


def test_a_folder_whose_database_is_elsewhere_is_not_served_without_it(state, tmp_path):
    # As a coordinator leaves it whose database is elsewhere.
    for path in state.glob("fleet.db*"):
        path.unlink()
    done = serve(state)
    assert done.returncode == 1
    assert "fleet.db is missing" in done.stderr
    assert "--database" in done.stderr
    empty = serve(state, "--database", f"sqlite:///{tmp_path}/empty.db")
    assert empty.returncode == 1
    assert "the database knows no fleet, but there was one" in empty.stderr


def test_a_database_of_another_fleet_is_refused(state, tmp_path):
    done = serve(tmp_path / "fresh", "--database", f"sqlite:///{state}/fleet.db")
    assert done.returncode == 4
    assert "the fleet in this database follows command key" in done.stderr
    with Store.open(f"sqlite:///{state}/fleet.db") as store, store.snapshot() as tx:
        # Whoever leads this fleet goes on.
        assert tx.leadership.get().epoch == 1


@pytest.mark.parametrize("made", [(), ("keys",), ("keys", "fleet.db")], ids=["nothing", "keys", "and database"])
def test_a_crash_in_the_very_first_start_is_recovered_from(state, made, started):
    for path in state.iterdir():
        if path.name not in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # What a crash leaves while keys are being written.
    (state / ".keys.new").mkdir(exist_ok=True)
    (state / ".keys.new" / "command.key").write_bytes(bytes(32))
    kept = contents(state / "keys") if "keys" in made else None
    coordinator = CoordinatorProcess(state)
    started.append(coordinator)
    coordinator.start()
    with coordinator.client() as client:
        assert client.get_fleet().fleet_id
    assert kept is None or contents(state / "keys") == kept


@pytest.mark.parametrize("token", ["operator.token", "learning.token"])
@pytest.mark.parametrize("content", [b"", b"\n", b"short", b" " * 43, b"\xff" * 43])
def test_a_token_that_would_open_to_anybody_is_refused_at_the_start(state, token, content):
    (state / "keys" / token).write_bytes(content)
    done = serve(state)
    assert done.returncode == 1
    assert f"keys/{token} opens nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_everything_in_the_folder_is_readable_by_its_owner_only(tmp_path):
    state = tmp_path / "coordinator"
    # Made too wide by a script, and with a umask that forbids nothing.
    state.mkdir(mode=0o755)
    command = [program("fleet"), "serve", "--no-flower", "--state", str(state)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, umask=0, text=True)
    try:
        eventually("it serves", (state / "serve.json").exists)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.rglob("*"))}
        wide = {path.name: oct(mode) for path, mode in modes.items() if mode & 0o077}
        assert wide == {}
        assert {"fleet.db", "fleet.db-wal", "serve.port"} <= {path.name for path in modes}
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert "tightened to 0700" in said


def init(state: Path, name: str = "node-1") -> subprocess.CompletedProcess[str]:
    return run(*EDGE_NODE, "init", "--state", str(state), "--node-id", name)


@pytest.mark.parametrize("left", ["keys/signing.key", "journal.db", "enrollment.json", "subject-keys/a1.key"])
def test_init_where_a_node_was_is_refused_and_changes_nothing(tmp_path, left):
    state = tmp_path / "node"
    (state / left).parent.mkdir(parents=True)
    (state / left).write_bytes(b"of the node that was here")
    before = contents(state)
    done = init(state)
    assert done.returncode == 1
    assert f"it has {left}, but no keys/identity.json" in done.stderr
    assert contents(state) == before


def test_init_of_a_node_that_has_lost_its_name_keeps_its_keys(tmp_path):
    state = tmp_path / "node"
    assert init(state).returncode == 0
    (state / "keys" / "identity.json").unlink()
    before = contents(state)
    assert init(state).returncode == 1
    assert contents(state) == before


def test_init_after_a_crash_in_the_first_one_makes_the_node(tmp_path):
    state = tmp_path / "node"
    staged = state / ".keys.new"
    staged.mkdir(parents=True)
    (staged / "signing.key").write_bytes(bytes(32))
    first = init(state)
    assert first.returncode == 0, first.stderr
    assert init(state).stdout == first.stdout
    assert not staged.exists()
    assert (state / "keys" / "signing.key").read_bytes() != bytes(32)
