"""Supervised child processes: restarted with back-off, ended with their parent."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

logger = logging.getLogger(__name__)


class ChildState(StrEnum):
    """What a supervised process is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    BACKING_OFF = "backing-off"


@dataclass(frozen=True)
class Backoff:
    """Full-jitter exponential back-off between restarts, in seconds."""

    first_s: float = 0.5
    longest_s: float = 15.0
    #: A process that ran this long starts the count again.
    healthy_after_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """Return a random delay before restart number `failures` (1, 2, ...)."""
        longest = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return random.uniform(longest / 2, longest)


def start_tethered(
    command: Sequence[str],
    log_path: Path,
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command under a tether, its output appended to a log; returns the tether.

    The kernel ends the tether together with the *thread* that calls this: call it from one that lives as long
    as the command shall.
    """
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "reram_fleet.processes.reaper", "--parent", str(os.getpid()), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=working_directory,
            env={**os.environ, **(environment or {})},
            # A Ctrl-C at the terminal is for us: children are ended in order.
            start_new_session=True,
        )


@dataclass
class SupervisedProcess:
    """A command kept running under a tether until `stop`.

    Parameters
    ----------
    name
        For log lines.
    command
        Argument vector.
    log_path
        Where its standard output and error are appended.
    environment
        Added to this process's environment.
    """

    name: str
    command: Sequence[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: Path | None = None
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        self.restarts = 0
        self.state = ChildState.STOPPED
        self._tether: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the command and keep it running."""
        # A thread of its own: the tether ends with the thread that started it.
        self._thread = threading.Thread(target=self._supervise, name=f"supervise-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 12.0) -> None:
        """End the command and all that it started; returns when they are gone."""
        self._stopping.set()
        tether = self._tether
        if tether is not None and tether.poll() is None:
            tether.terminate()
            try:
                tether.wait(timeout_s)
            except subprocess.TimeoutExpired:
                tether.kill()
                tether.wait()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self.state = ChildState.STOPPED

    @property
    def pid(self) -> int | None:
        """Process id of the tether above the command, while it runs."""
        return self._tether.pid if self._tether is not None and self._tether.poll() is None else None

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            self._tether = start_tethered(self.command, self.log_path, self.environment, self.working_directory)
            self.state = ChildState.RUNNING
            code = self._tether.wait()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - started > self.backoff.healthy_after_s else failures + 1
            delay_s = self.backoff.delay_s(failures)
            logger.warning("%s ended with code %d; restarting in %.1f s", self.name, code, delay_s)
            self.state = ChildState.BACKING_OFF
            self.restarts += 1
            self._stopping.wait(delay_s)
