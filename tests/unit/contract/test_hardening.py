from __future__ import annotations

import stat
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource, subprocess, sys
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private
keep_memory_private()
keep_files_private()
child = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
open(sys.argv[1], "w").close()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)
subprocess.run([sys.executable, "-c", child])
sys.stdin.read()
"""


@pytest.fixture
def hardened(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "file")]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "umask": 0}
    with subprocess.Popen(command, **options) as process:
        yield process, [process.stdout.readline().strip() for _ in range(3)]
        process.stdin.close()


def test_neither_the_process_nor_what_it_starts_writes_core_dumps(hardened):
    assert hardened[1] == ["0", "(0, 0)", "(0, 0)"]


def test_its_files_are_readable_by_their_owner_only(hardened, tmp_path):
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
