"""Process reaper: runs a command that cannot outlive whoever started it.

`python -m reram_fleet.processes.reaper [--parent PID] [--helper NAME] -- COMMAND ...` adopts every orphan that the
command leaves (Flower starts processes in groups of their own, which a kill of the group misses) and ends them all when
the command ends, when it is told to stop, or when its parent dies, by SIGKILL too; and when a helper that the command
had started, and cannot do without, has ended. Linux only: it relies on PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER
(prctl(2)).
"""

from __future__ import annotations

import argparse
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
#: How often the command is looked at for its helper.
LOOK_S = 5.0
#: Exit code if the helper has ended: try again (EX_TEMPFAIL of sysexits.h).
WITHOUT_HELPER = 75
#: The kernel keeps so much of a program's name.
_NAME = 15


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
    parser = argparse.ArgumentParser(prog="reram_fleet.processes.reaper", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--parent", type=int, help="process that must have started this one; else nothing is run")
    parser.add_argument("--helper", default="", help="program that the command starts, and is ended without")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if options.parent not in (None, os.getppid()):
        return 0

    # Blocked, it waits until it is asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        try:
            os.execvp(options.command[0], options.command)
        except OSError as error:
            print(f"cannot start {options.command[0]}: {error}", file=sys.stderr)
            os._exit(127)

    code: int | None = 0
    try:
        signal.signal(signal.SIGTERM, _on_signal)
        signal.signal(signal.SIGINT, _on_signal)
        code = _watched(child, options.helper)
        if code is None:
            name = os.path.basename(options.command[0])
            print(f"{name} goes on without its {options.helper}: all of it is ended", file=sys.stderr, flush=True)
            raise _StopRequested
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
    if code is None:
        return WITHOUT_HELPER
    return code if code >= 0 else 128 - code


def _watched(child: int, helper: str) -> int | None:
    """Return the command's exit code once it has ended; None once its helper has."""
    had_helper = False
    looked_s = time.monotonic()
    while True:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return os.waitstatus_to_exitcode(ended[1])
        if helper and time.monotonic() - looked_s >= LOOK_S:
            looked_s = time.monotonic()
            has_helper = any(_runs(each, helper) for each in psutil.Process().children(recursive=True))
            if had_helper and not has_helper:
                return None
            had_helper = has_helper
        signal.sigtimedwait({signal.SIGCHLD}, LOOK_S)


def _runs(process: psutil.Process, program: str) -> bool:
    # Whatever cannot be told of it must not end the reaper, which would leave orphans.
    with contextlib.suppress(psutil.Error):
        # A zombie that nobody has collected yet runs no more.
        return process.name()[:_NAME] == program[:_NAME] and process.status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    sys.exit(main())
