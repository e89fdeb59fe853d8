"""`python -m fleet.local.supervisor SETTINGS TIMEOUT_S`: what `fleet up` leaves running."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.hardening import keep_files_private, keep_memory_private

from fleet.errors import FleetError
from fleet.local.fleet import LocalFleet, LocalSettings

logger = logging.getLogger("fleet.local.supervisor")


class _ToldToStopError(Exception):
    """SIGTERM or SIGINT came."""


def _on_signal(number: int, frame: object) -> None:
    # Once is enough: a second signal must not cut the orderly end short.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise _ToldToStopError


def main(argv: list[str]) -> int:
    """Run a local fleet until SIGTERM; returns the exit code."""
    keep_memory_private()
    keep_files_private()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    raw, timeout_s = json.loads(argv[0]), float(argv[1])
    settings = LocalSettings(**{**raw, "state": Path(raw["state"])})
    layout = settings.layout
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    me: dict[str, Any] = {"pid": os.getpid(), "create_time": psutil.Process().create_time(), "ready": False}
    try:
        write_atomically(layout.supervisor, json.dumps(me).encode())
        with LocalFleet(settings, logger.info) as fleet:
            fleet.start(timeout_s)
            served = fleet.served()
            me |= {
                "ready": True,
                "address": served.address,
                "metrics_address": served.metrics_address,
                "nodes": [_node_document(fleet, index) for index in range(settings.nodes)],
                "absent": fleet.absent,
            }
            write_atomically(layout.supervisor, json.dumps(me).encode())
            logger.info("ready: %d nodes serve", settings.nodes)
            threading.Event().wait()
    except _ToldToStopError:
        logger.info("told to end")
    except FleetError as error:
        logger.error("%s\n%s", error, error.hint)
        return 1
    finally:
        layout.supervisor.unlink(missing_ok=True)
    return 0


def _node_document(fleet: LocalFleet, index: int) -> dict[str, str]:
    node = fleet.nodes[index]
    running = node.running()
    assert running is not None, "start() returned, so every daemon has bound its ports"
    return {
        "node_id": node.node_id,
        "state": str(node.state),
        "engine_address": running.engine_address,
        "metrics_address": running.metrics_address,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
