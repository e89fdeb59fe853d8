"""A local fleet in the background: start its supervisor, find it again, end it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from fleet.local.errors import (
    AlreadyRunningError,
    LocalFleetError,
    NotRunningError,
    ProcessEndedError,
    StartTimedOutError,
)
from fleet.local.fleet import LocalSettings
from fleet.local.layout import Layout
from fleet.local.reaped import log_tail

_POLL_S = 0.1
#: For a supervisor that has given up, to end what it had started.
_GRACE_S = 30.0


@dataclass(frozen=True)
class Background:
    """A local fleet that runs."""

    pid: int
    address: str
    metrics_address: str
    nodes: list[dict[str, str]]
    #: Nodes of the fleet that are not started.
    absent: list[str]


def start_background(settings: LocalSettings, timeout_s: float) -> Background:
    """Start a supervisor in a session of its own; returns when every node serves.

    Raises
    ------
    AlreadyRunningError
        If this folder's fleet runs.
    ProcessEndedError, StartTimedOutError
        If it does not get ready; nothing of it is left then.
    """
    layout = settings.layout
    settings.check_folder()
    layout.create()
    running = find_supervisor(layout)
    if running is not None:
        raise AlreadyRunningError(
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
    # The supervisor knows better what it waited for: it says so before we give up.
    deadline = time.monotonic() + timeout_s + _GRACE_S
    try:
        while time.monotonic() < deadline:
            found = _read(layout)
            if found is not None and found["ready"]:
                return Background(
                    process.pid, found["address"], found["metrics_address"], list(found["nodes"]), list(found["absent"])
                )
            if process.poll() is not None:
                raise ProcessEndedError(f"the fleet in {layout.root} did not start", hint=log_tail(log_path, lines=16))
            time.sleep(_POLL_S)
        raise StartTimedOutError(
            f"the fleet in {layout.root} is not ready after {timeout_s:g} s", hint=log_tail(log_path)
        )
    except BaseException:
        # Also for Ctrl-C: half a fleet is not left behind.
        if process.poll() is None:
            process.terminate()
            process.wait()
        raise


def stop_background(state: Path, timeout_s: float) -> None:
    """End the fleet in a folder; returns when its processes are gone.

    Raises
    ------
    NotRunningError
        If none runs there.
    LocalFleetError
        If it has not ended in time.
    """
    process = find_supervisor(Layout(state))
    if process is None:
        raise NotRunningError(f"no fleet runs in {state}", hint="`fleet up` starts one; --state names another folder")
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs(family, timeout_s)
    if left:
        pids = ", ".join(str(p.pid) for p in left)
        raise LocalFleetError(f"still running {timeout_s:g} s after they were told to end: processes {pids}")


def find_supervisor(layout: Layout) -> psutil.Process | None:
    """Return the supervisor that runs this folder's fleet, if there is one."""
    found = _read(layout)
    if found is None:
        return None
    try:
        process = psutil.Process(found["pid"])
        # The id may belong to somebody else by now.
        return process if abs(process.create_time() - found["create_time"]) < 1.0 else None
    except psutil.NoSuchProcess:
        return None


def _read(layout: Layout) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(layout.supervisor.read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LocalFleetError(f"{layout.supervisor} cannot be read: {error}") from error
