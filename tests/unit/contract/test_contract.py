"""Both sides of the wire rely on the same words, and the stubs are those of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from reram_fleet.processes.flower import program

ROOT = Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto"
PROTO_FILES = sorted((PROTO / "reram_fleet" / "v1").glob("*.proto"))
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def test_committed_stubs_are_those_of_the_proto_files(tmp_path: Path) -> None:
    # As `make proto` does it.
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    subprocess.run([*compiler, *outputs, *map(str, PROTO_FILES)], check=True)
    fresh = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2*.py*")}
    assert set(fresh) == {f"{path.stem}{suffix}" for path in PROTO_FILES for suffix in SUFFIXES}
    committed = {path.name: path.read_text() for path in (PROTO / "reram_fleet" / "v1").glob("*_pb2*.py*")}
    stale = [name for name in fresh if fresh[name] != committed.get(name)]
    assert not stale, "run `make proto`"
    assert set(committed) == set(fresh), "a stub without a .proto file: remove it"


def test_proto_files_pass_buf_lint() -> None:
    done = subprocess.run([program("buf"), "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        # One process per message: Flower would load it for nothing each time.
        ("edge_node.agent.client_app", {"torch", "hwmodel", "sktime", "edge_node.recognition.engine"}),
        ("fleet.learning.server_app", {"torch", "edge_node", "hwmodel", "sqlalchemy"}),
        ("reram_fleet.processes.reaper", {"torch", "flwr", "grpc", "google.protobuf"}),
        ("hwmodel", {"grpc", "flwr", "fleet", "edge_node"}),
    ],
)
def test_import_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
