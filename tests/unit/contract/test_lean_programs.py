"""Programs of Flower without what their packages import beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from reram_fleet.processes.flower import process_environment, program
from reram_fleet.processes.lean import PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_lean_program_is_what_flower_would_start(name: str, tmp_path: Path) -> None:
    package, function = PROGRAMS[name]
    (flowers,) = entry_points(group="console_scripts", name=name)
    assert flowers.value == f"{package}:{function}"

    environment = {**os.environ, **process_environment(tmp_path)}
    lean, plain = (
        subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True, check=True).stdout
        for command in ([name], [program(name)])
    )
    assert lean == plain
    assert (tmp_path / "bin" / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", PROGRAMS)
def test_flowers_own_program_is_started_where_nothing_may_be_executed(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, **process_environment(tmp_path)}
    # As on a file system that is mounted noexec: execve(2) says EACCES, to root as well.
    (tmp_path / "bin" / name).chmod(0o600)

    found = subprocess.run([name, "--help"], env=environment, capture_output=True, text=True, check=True).stdout

    assert f"usage: {name}" in found


def test_no_program_is_written_that_this_interpreter_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/some user/python3")

    process_environment(tmp_path)

    assert not (tmp_path / "bin").exists()
