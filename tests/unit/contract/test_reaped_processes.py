"""Nothing outlives whoever started it: not by SIGKILL, not in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from reram_fleet.processes.backoff import Backoff
from reram_fleet.processes.reaper import LOOK_S, WITHOUT_HELPER
from reram_fleet.processes.supervised import ChildState, ProcessError, ReapedProcess, SupervisedProcess

#: Starts a grandchild in a session of its own, as Flower does, writes both process ids, and sleeps.
FAMILY = textwrap.dedent(
    """
    import os, pathlib, subprocess, sys, time
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    grandchild = subprocess.Popen(sleep, start_new_session=True)
    pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {grandchild.pid}\\n")
    time.sleep(600)
    """
)
#: Starts the family under the reaper, and sleeps.
PARENT = textwrap.dedent(
    """
    import pathlib, sys, time
    from reram_fleet.processes.supervised import ReapedProcess
    command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
    ReapedProcess("family", command, pathlib.Path(sys.argv[3])).start()
    time.sleep(600)
    """
)


def until(what: str, probe: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not probe():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def ended(process: psutil.Process) -> bool:
    # A zombie that nobody has collected yet runs no more.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Family:
    """The file that a family writes its process ids into."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", FAMILY, str(self.path)]

    def members(self) -> list[psutil.Process]:
        until("the family's process ids", lambda: self.path.exists() and self.path.read_text().endswith("\n"))
        return [psutil.Process(int(pid)) for pid in self.path.read_text().split()]


def started(command: list[str], log: Path) -> ReapedProcess:
    process = ReapedProcess("command", command, log)
    process.start()
    return process


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    found = Family(tmp_path / "pids")
    yield found
    # For a test that fails: what it started is not left to the next ones.
    if found.path.exists():
        for process in [int(pid) for pid in found.path.read_text().split()]:
            if psutil.pid_exists(process):
                os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_grandchild_in_its_own_session_ends_with_the_parent(
    tmp_path: Path, family: Family, number: signal.Signals
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, FAMILY, str(family.path), str(tmp_path / "log")])
    child, grandchild = family.members()
    reaper = child.parent()
    assert reaper is not None
    parent.send_signal(number)
    parent.wait()
    until("the family is gone", lambda: all(map(ended, (reaper, child, grandchild))))


def test_grandchild_ends_with_the_command(tmp_path: Path, family: Family) -> None:
    process = started(family.command, tmp_path / "log")
    child, grandchild = family.members()
    child.kill()
    assert process.wait(30) == 128 + signal.SIGKILL
    assert not process.alive
    assert ended(grandchild)


def test_killing_the_command_ends_the_whole_family(tmp_path: Path, family: Family) -> None:
    process = started(family.command, tmp_path / "log")
    members = family.members()
    assert process.kill(30) == members[0].pid
    assert all(map(ended, members))
    with pytest.raises(ProcessError, match="does not run"):
        process.kill()


def test_stopping_the_command_ends_the_whole_family(tmp_path: Path, family: Family) -> None:
    process = started(family.command, tmp_path / "log")
    members = family.members()
    process.stop(30)
    assert all(map(ended, members))


def test_family_of_a_reaper_that_does_not_end_in_time_is_ended_all_the_same(tmp_path: Path, family: Family) -> None:
    process = started(family.command, tmp_path / "log")
    members = family.members()
    assert process.pid is not None
    # Stopped, it does not see that it is told to end.
    os.kill(process.pid, signal.SIGSTOP)
    process.stop(0.2)
    until("the family is gone", lambda: all(map(ended, members)))


def test_reaper_hands_on_the_exit_code_and_the_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = started([sys.executable, "-c", "print('said'); raise SystemExit(7)"], log)
    assert process.wait(30) == 7
    assert log.read_text() == "said\n"


def test_command_that_does_not_exist_is_told_in_the_log(tmp_path: Path) -> None:
    process = started([str(tmp_path / "nothing")], tmp_path / "log")
    assert process.wait(30) == 127
    assert "cannot start" in (tmp_path / "log").read_text()


def test_supervised_process_that_is_killed_comes_back_and_stays_away_once_stopped(
    tmp_path: Path, family: Family
) -> None:
    process = SupervisedProcess(
        "family", family.command, tmp_path / "log", backoff=Backoff(first_s=0.02, longest_s=0.05)
    )
    process.start()
    try:
        first, _ = family.members()
        family.path.unlink()
        first.kill()
        second, grandchild = family.members()
        assert second.pid != first.pid
        until("the restart is counted", lambda: process.restarts == 1)
        assert process.state is ChildState.RUNNING
    finally:
        process.stop()
    assert process.state is ChildState.STOPPED
    assert process.pid is None
    assert all(map(ended, (second, grandchild)))


def test_supervised_process_is_started_with_its_environment_and_folder(tmp_path: Path) -> None:
    code = "import os, pathlib, time; pathlib.Path('told').write_text(os.environ['WORD']); time.sleep(600)"
    process = SupervisedProcess(
        "told", [sys.executable, "-c", code], tmp_path / "log", environment={"WORD": "word"}, working_directory=tmp_path
    )
    process.start()
    try:
        until("the file", lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text() == "word")
    finally:
        process.stop()


def test_supervised_process_whose_helper_has_ended_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    helper = tmp_path / "helper-of-a-command"
    helper.symlink_to("/bin/sleep")
    # It does not look after what it has started, and goes on without it.
    start = "import subprocess, sys, time; helper = subprocess.Popen([sys.argv[1], '600']); time.sleep(600)"
    command = [sys.executable, "-c", start, str(helper)]
    process = SupervisedProcess(
        "command", command, tmp_path / "log", backoff=Backoff(first_s=0.01, longest_s=0.01), helper=helper.name
    )

    def helpers() -> list[psutil.Process]:
        family = psutil.Process(process.pid).children(recursive=True) if process.pid else []
        return [each for each in family if each.name().startswith("helper-of") and not ended(each)]

    process.start()
    try:
        until("the helper runs", lambda: len(helpers()) == 1)
        (first,) = helpers()
        # It has been looked for by then, and found.
        time.sleep(LOOK_S + 1.0)
        assert process.restarts == 0
        first.kill()
        until("all of it is started again", lambda: process.restarts == 1 and len(helpers()) == 1)
        assert helpers() != [first]
    finally:
        process.stop()
    assert "goes on without its helper-of-a-command" in (tmp_path / "log").read_text()
    assert f"command ended with code {WITHOUT_HELPER}" in caplog.text
