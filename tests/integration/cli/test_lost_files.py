"""Keys and databases are made once: what is missing later was lost, and is never silently made anew."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from reram_fleet.processes.flower import program

from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually

EDGE_NODE = [sys.executable, "-c", "from edge_node.cli import main; main()"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


def serve(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(program("fleet"), "serve", "--no-flower", "--metrics-port", "0", "--state", str(state), *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_coordinator_that_has_lost_its_database_is_refused_and_nothing_is_made(tmp_path):
    coordinator = CoordinatorProcess(tmp_path / "coordinator")
    coordinator.start()
    coordinator.kill()
    for path in coordinator.state.glob("fleet.db*"):
        path.unlink()
    before = contents(coordinator.state)
    done = serve(coordinator.state)
    assert done.returncode == 1
    assert "but fleet.db is missing" in done.stderr
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(coordinator.state) == before


def test_everything_in_the_folder_is_readable_by_its_owner_only(tmp_path):
    state = tmp_path / "coordinator"
    # Made too wide by a script, and with a umask that forbids nothing.
    state.mkdir(mode=0o755)
    command = [program("fleet"), "serve", "--no-flower", "--metrics-port", "0", "--state", str(state)]
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
