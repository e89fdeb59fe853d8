"""Child processes under the process reaper: ended with their parent, and restarted if they are supervised."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from reram_fleet.errors import FleetError
from reram_fleet.processes.backoff import Backoff

logger = logging.getLogger(__name__)

#: A supervised process that ran this long starts the count of its failures again.
HEALTHY_AFTER_S = 60.0
_BACKOFF = Backoff(first_s=0.5, longest_s=15.0)


class ProcessError(FleetError):
    """A child process does not run, or does not end."""


class ChildState(StrEnum):
    """State of a supervised process."""

    STOPPED = "stopped"
    RUNNING = "running"
    BACKING_OFF = "backing-off"


@dataclass
class ReapedProcess:
    """Command under `reram_fleet.processes.reaper`: what it started ends with it, and it ends with its parent.

    The kernel ends the reaper together with the *thread* that starts it: call `start` from one that lives as long as
    the command shall.
    """

    #: For messages.
    name: str
    #: Argument vector.
    command: Sequence[str]
    #: Where its standard output and error are appended.
    log_path: Path
    #: Added to this process's environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: Path | None = None
    #: Program that the command starts, and cannot do without: if that has ended, all of it is ended.
    helper: str = ""
    _reaper: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Start the command."""
        reaper = [sys.executable, "-m", "reram_fleet.processes.reaper", "--parent", str(os.getpid())]
        if self.helper:
            reaper += ["--helper", self.helper]
        with self.log_path.open("ab") as log:
            self._reaper = subprocess.Popen(
                [*reaper, "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.working_directory,
                env={**os.environ, **self.environment},
                # A Ctrl-C at the terminal is for us: children are ended in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id of the reaper above the command, while it runs."""
        return self._reaper.pid if self._reaper is not None and self._reaper.poll() is None else None

    @property
    def alive(self) -> bool:
        """Whether the command runs."""
        return self.pid is not None

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the command's exit code (128 + signal number if a signal ended it) once all of it has ended.

        `ProcessError` if it was never started, or still runs when the time is over.
        """
        if self._reaper is None:
            raise ProcessError(f"{self.name} was never started")
        try:
            return self._reaper.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProcessError(f"{self.name}, or a child of it, still runs after {timeout_s:g} s") from error

    def kill(self, timeout_s: float = 15.0) -> int:
        """SIGKILL the command, as a power cut would; returns its process id once all of it is gone.

        `ProcessError` if it does not run, or something of it outlives the kill.
        """
        if (pid := self.pid) is None:
            raise ProcessError(f"{self.name} does not run, so it cannot be killed")
        try:
            # The reaper's first child is the command; later ones are orphans that it adopted.
            command = min(psutil.Process(pid).children(), key=lambda child: child.create_time())
            command.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, ValueError) as error:
            raise ProcessError(f"{self.name} ended before it could be killed") from error
        self.wait(timeout_s)
        return command.pid

    def stop(self, timeout_s: float = 12.0) -> None:
        """End the command and all that it started; returns when they are gone."""
        reaper = self._reaper
        if reaper is None or reaper.poll() is not None:
            return
        family: list[psutil.Process] = []
        # It may end by itself at any moment.
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(reaper.pid).children(recursive=True)
        reaper.terminate()
        try:
            reaper.wait(timeout_s)
        except subprocess.TimeoutExpired:
            reaper.kill()
            reaper.wait()
            # With the reaper killed, nobody is left who would end its family.
            for process in psutil.wait_procs(family, timeout=1.0)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@dataclass
class SupervisedProcess(ReapedProcess):
    """Command that is kept running until `stop`."""

    backoff: Backoff = _BACKOFF

    def __post_init__(self) -> None:
        self.restarts = 0
        self.state = ChildState.STOPPED
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the command and keep it running."""
        # A thread of its own: the reaper ends with the thread that started it.
        self._thread = threading.Thread(target=self._supervise, name=f"supervise-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 12.0) -> None:
        """End the command and all that it started; returns when they are gone."""
        self._stopping.set()
        super().stop(timeout_s)
        if self._thread is not None:
            self._thread.join(timeout_s)
        self.state = ChildState.STOPPED

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            super().start()
            self.state = ChildState.RUNNING
            code = self.wait()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - started > HEALTHY_AFTER_S else failures + 1
            delay_s = self.backoff.delay_s(failures)
            logger.warning("%s ended with code %d; restarting in %.1f s", self.name, code, delay_s)
            self.state = ChildState.BACKING_OFF
            self.restarts += 1
            self._stopping.wait(delay_s)
