"""`fleet serve` with settings that cannot work: a plain error, and nothing that runs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from reram_fleet.processes.flower import program


def serve(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("fleet"), "serve", "--state", str(state), *options],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_in_use_is_named(tmp_path, taken_port, option):
    done = serve(tmp_path / "state", "--no-flower", option, str(taken_port))
    assert done.returncode == 2
    assert f"127.0.0.1:{taken_port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_this_machine_has_not_is_named(tmp_path):
    done = serve(tmp_path / "state", "--no-flower", "--host", "192.0.2.1")
    assert done.returncode == 2
    assert "cannot listen at 192.0.2.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_server_that_is_not_there_is_named(tmp_path):
    done = serve(tmp_path / "state", "--no-flower", "--database", f"postgresql://fleet@/fleet?host={tmp_path}")
    assert done.returncode == 1
    assert "cannot open postgresql" in done.stderr
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = serve(tmp_path / "file" / "state", "--no-flower")
    assert done.returncode == 2
    assert f"{tmp_path / 'file' / 'state'} cannot be a state folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ca", [None, b"no certificate"], ids=["missing", "something else"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path, ca):
    path = tmp_path / "ca.pem"
    if ca is not None:
        path.write_bytes(ca)
    done = serve(tmp_path / "state", "--flower-attach", "127.0.0.1:1", "--flower-ca", str(path))
    assert done.returncode == 2
    assert "ca.pem" in done.stderr
    assert "Traceback" not in done.stderr
