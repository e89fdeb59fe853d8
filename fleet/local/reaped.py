"""A process that dies with us, and that nobody restarts: what the demo may kill."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from reram_fleet.processes.supervised import start_tethered

from fleet.local.errors import LocalFleetError


class ReapedProcess:
    """A command under `reram_fleet.processes.reaper`, without a supervisor.

    Start it from a thread that lives as long as the process shall: the kernel ends a
    tethered process together with the *thread* that forked it.

    Parameters
    ----------
    name
        For messages.
    command
        Argument vector.
    log_path
        Where its standard output and error are appended.
    """

    def __init__(self, name: str, command: Sequence[str], log_path: Path) -> None:
        self.name = name
        self.command = tuple(command)
        self.log_path = log_path
        self._tether: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command."""
        self._tether = start_tethered(self.command, self.log_path)

    @property
    def alive(self) -> bool:
        """Whether the command runs."""
        return self._tether is not None and self._tether.poll() is None

    def kill(self, timeout_s: float = 15.0) -> int:
        """SIGKILL the command, as a power cut would; returns its process id once it is gone.

        The tether ends what the command has left behind.

        Raises
        ------
        LocalFleetError
            If it does not run, or something of it outlives the kill.
        """
        if self._tether is None or self._tether.poll() is not None:
            raise LocalFleetError(f"{self.name} does not run, so it cannot be killed")
        try:
            # The tether's first child is the command; later ones are orphans that it adopted.
            command = min(psutil.Process(self._tether.pid).children(), key=lambda child: child.create_time())
        except (psutil.NoSuchProcess, ValueError) as error:
            raise LocalFleetError(f"{self.name} ended before it could be killed") from error
        command.send_signal(signal.SIGKILL)
        try:
            self._tether.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise LocalFleetError(f"children of {self.name} still run {timeout_s:g} s after its kill") from error
        return command.pid

    def stop(self, timeout_s: float = 12.0) -> None:
        """End the command and all that it started; returns when they are gone."""
        if self._tether is None or self._tether.poll() is not None:
            return
        family = psutil.Process(self._tether.pid).children(recursive=True)
        self._tether.terminate()
        try:
            self._tether.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._tether.kill()
            self._tether.wait()
        # With the tether killed, nobody is left who would end its family.
        deadline = time.monotonic() + 1.0
        for process in family:
            if process.is_running() and time.monotonic() > deadline:
                process.kill()


def log_size(path: Path) -> int:
    """Return how long a log is now: where the next run's lines begin."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def log_tail(path: Path, lines: int = 8, *, start: int = 0) -> str:
    """Return the last lines of a log from an offset (in bytes) on, for an error message."""
    try:
        text = path.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def complaints(logs: Path, lines: int = 5) -> list[str]:
    """Return the last warnings and errors of every log in a folder."""
    found = []
    for path in sorted(logs.glob("*.log")):
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        wrong = [line for line in text if any(word in line for word in ("WARNING", "ERROR", "Error:"))]
        found += [f"{path.stem}: {line[:300]}" for line in wrong[-lines:]]
    return found
