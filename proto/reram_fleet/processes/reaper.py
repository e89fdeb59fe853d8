"""Process reaper: runs a command that cannot outlive whoever started it.

`python -m reram_fleet.processes.reaper --parent PID -- COMMAND ...` adopts every orphan that the command leaves (Flower
starts processes in groups of their own, which a kill of the group misses) and ends them all when the command ends, when
it is told to stop, or when its parent dies, by SIGKILL too. Linux only: it relies on PR_SET_PDEATHSIG and
PR_SET_CHILD_SUBREAPER (prctl(2)).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import FrameType

import psutil

from reram_fleet.processes.hardening import prctl

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
#: How long the command may take to end by itself after SIGTERM.
GRACE_S = 6.0


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _end_all(grace_s: float) -> None:
    myself = psutil.Process()
    for process in myself.children(recursive=True):
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while myself.children(recursive=True) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    # A process may fork while it is being killed: go on until none is left.
    while remaining := myself.children(recursive=True):
        for process in remaining:
            _signal(process, signal.SIGKILL)
        _reap()
        time.sleep(0.02)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


class _StopRequested(Exception):  # noqa: N818 - it is a request, not an error
    """The reaper was told to stop."""


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise _StopRequested


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code (128 + signal number if a signal ended it)."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) < 4 or arguments[0] != "--parent" or arguments[2] != "--":
        print("usage: python -m reram_fleet.processes.reaper --parent PID -- COMMAND ...", file=sys.stderr)
        return 2
    parent, command = int(arguments[1]), arguments[3:]
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        return 0

    child = os.fork()
    if child == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"cannot start {command[0]}: {error}", file=sys.stderr)
            os._exit(127)

    code = 0
    try:
        signal.signal(signal.SIGTERM, _on_signal)
        signal.signal(signal.SIGINT, _on_signal)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                break
    except _StopRequested:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The command first, alone: a SuperNode that is asked to stop says goodbye.
        main_process = psutil.Process(child)
        _signal(main_process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.05)
    _end_all(grace_s=1.0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
