"""Supervisor of a fleet in the background: what `fleet up` leaves running, and how it is found and ended.

`python -m fleet.local.supervisor SETTINGS TIMEOUT_S` is the process itself.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private

from fleet.errors import ConflictError, FleetError, NotFoundError
from fleet.local.deadline import Deadline
from fleet.local.errors import LocalFleetError
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.local.layout import Layout, log_tail

logger = logging.getLogger("fleet.local.supervisor")

#: For a supervisor that has given up, to end what it had started.
_GRACE_S = 30.0


@dataclass
class RunningFleet:
    """Supervisor's word on itself and its fleet, in a file of the fleet's folder."""

    pid: int
    #: When the process was made: its id may be somebody else's later.
    create_time: float
    #: Whether every node serves; the rest is known from then on.
    ready: bool = False
    address: str = ""
    metrics_address: str = ""
    #: host:port of the Prometheus; "" if there is none.
    prometheus: str = ""
    nodes: list[dict[str, str]] = field(default_factory=list)
    #: Nodes of the fleet that are not started.
    absent: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, layout: Layout) -> RunningFleet | None:
        """Return what the file says; None if there is none."""
        try:
            return cls(**json.loads(layout.supervisor.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise LocalFleetError(f"{layout.supervisor} cannot be read: {error}") from error

    def write(self, layout: Layout) -> None:
        """Write the file."""
        write_atomically(layout.supervisor, json.dumps(asdict(self)).encode())


def start_background(settings: LocalSettings, timeout_s: float) -> RunningFleet:
    """Start a supervisor in a session of its own; returns when every node serves.

    Raises
    ------
    ConflictError
        If this folder's fleet runs.
    LocalFleetError
        If it does not get ready; nothing of it is left then.
    """
    layout = settings.layout
    settings.check_folder()
    layout.create()
    running = find_supervisor(layout)
    if running is not None:
        raise ConflictError(
            f"the fleet in {layout.root} runs already (process {running.pid})",
            hint="`fleet status` shows it; `fleet down` ends it",
        )
    layout.supervisor.unlink(missing_ok=True)
    log_path = layout.log("supervisor")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fleet.local.supervisor", json.dumps(asdict(settings), default=str), str(timeout_s)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Outlives the terminal that started it.
            start_new_session=True,
        )

    def ready() -> RunningFleet | None:
        found = RunningFleet.read(layout)
        if found is not None and found.ready:
            return found
        if process.poll() is not None:
            raise LocalFleetError(f"the fleet in {layout.root} did not start", hint=log_tail(log_path, lines=16))
        return None

    try:
        # The supervisor knows better what it waited for: it says so before we give up.
        return Deadline.of(timeout_s + _GRACE_S).until(
            f"the fleet in {layout.root} is ready", ready, poll_s=0.1, hint=lambda: log_tail(log_path)
        )
    except BaseException:
        # Also for Ctrl-C: half a fleet is not left behind.
        if process.poll() is None:
            process.terminate()
            process.wait()
        raise


def running_fleet(state: Path) -> LocalFleet:
    """Return the fleet that runs in a folder, to talk to; it is not ours to start or to end.

    Raises
    ------
    NotFoundError
        If none runs there, or it is not ready yet.
    """
    layout = Layout(state)
    found = RunningFleet.read(layout) if find_supervisor(layout) is not None else None
    if found is None or not found.ready:
        raise _no_fleet(state)
    return LocalFleet(LocalSettings.of_folder(state, nodes=len(found.nodes)))


def _no_fleet(state: Path) -> NotFoundError:
    return NotFoundError(f"no fleet runs in {state}", hint="`fleet up` starts one; --state names another folder")


def stop_background(state: Path, timeout_s: float) -> None:
    """End the fleet in a folder; returns when its processes are gone.

    Raises
    ------
    NotFoundError
        If none runs there.
    LocalFleetError
        If it has not ended in time.
    """
    process = find_supervisor(Layout(state))
    if process is None:
        raise _no_fleet(state)
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs(family, timeout_s)
    if left:
        pids = ", ".join(str(p.pid) for p in left)
        raise LocalFleetError(f"still running {timeout_s:g} s after they were told to end: processes {pids}")


def find_supervisor(layout: Layout) -> psutil.Process | None:
    """Return the supervisor that runs this folder's fleet, if there is one."""
    found = RunningFleet.read(layout)
    if found is None:
        return None
    try:
        process = psutil.Process(found.pid)
        return process if abs(process.create_time() - found.create_time) < 1.0 else None
    except psutil.NoSuchProcess:
        return None


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C; only the first counts, so that it ends in order."""

    def interrupt(number: int, frame: object) -> None:
        for each in handlers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    handlers = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def main(argv: list[str]) -> int:
    """Run a local fleet until SIGTERM; returns the exit code."""
    keep_memory_private()
    keep_files_private()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    raw, timeout_s = json.loads(argv[0]), float(argv[1])
    settings = LocalSettings(**{**raw, "state": Path(raw["state"])})
    layout = settings.layout
    running = RunningFleet(os.getpid(), psutil.Process().create_time())
    try:
        with terminated_like_interrupted():
            running.write(layout)
            with LocalFleet(settings, logger.info) as fleet:
                fleet.start(timeout_s)
                served = fleet.served()
                running.address, running.metrics_address = served.address, served.metrics_address
                running.prometheus = fleet.prometheus
                running.nodes = [node.addresses() for node in fleet.nodes]
                running.absent = fleet.absent
                running.ready = True
                running.write(layout)
                logger.info("ready: %d nodes serve", settings.nodes)
                threading.Event().wait()
    except KeyboardInterrupt:
        logger.info("told to end")
    except FleetError as error:
        logger.error("%s\n%s", error, error.hint)
        return 1
    finally:
        layout.supervisor.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
