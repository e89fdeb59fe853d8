"""Figures of a coordinator under load: real gRPC, real nodes, server and load in processes of their own.

What the machine does by itself is measured in the same section: the same fan-out over bare grpc.aio. Both are on a Unix
socket, so that what is compared is the logic; one section says what TLS adds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from reram_fleet.processes.flower import program

from fleet.coordinator.folder import SERVE_FILE
from fleet.coordinator.testing import CODES, REGISTRY_KEY
from tests.bench.figure import Figure, Target
from tests.bench.measuring import ROOT
from tests.bench.workloads.operator_looks import looks
from tests.postgres import PostgresServer, programs

FORGETS = 3
HEARTBEAT_S = 10.0
#: Longer is a hang: enrolling, connecting and forgetting on 10,000 nodes takes ten minutes.
LIMIT_S = 2400.0

#: Targets of 1,000 and of 10,000 links, by figure.
_TARGETS = {
    1000: {
        "coordinator idle": Target("<=", 0.1),
        "forget created until suppressed, p99": Target("<=", 0.8),
        "forget created until converged": Target("<=", 10.0),
        "coordinator CPU per node and forget": Target("<=", 0.004),
        "memory per link": Target("<=", 80 * 1024.0),
    },
    10_000: {
        "CreateForget": Target("<=", 0.5),
        "forget created until suppressed, p99": Target("<=", 8.0),
        "the same, times the floor": Target("<=", 3.0),
        "coordinator CPU per node and forget": Target("<=", 0.004),
        "memory per link": Target("<=", 80 * 1024.0),
        "all serving after a restart": Target("<=", 120.0),
    },
}


class LoadFailedError(Exception):
    """Coordinator or load did not do what they are measured for."""


def under_load(
    nodes: int, *, postgresql: bool = False, tls: bool = False, restart: bool = False, forgets: int = FORGETS
) -> Iterator[Figure]:
    """Yield the figures of so many links."""
    floor = _workload("echo_fanout", str(nodes))
    with tempfile.TemporaryDirectory() as folder, _database(postgresql) as database:
        seen = _loaded(Path(folder), nodes, database, tls=tls, restart=restart, forgets=forgets)
    if seen["refusals"]:
        raise LoadFailedError(f"nodes were refused: {seen['refusals']}")
    of = {name: tuple(forget[name] for forget in seen["forgets"]) for name in seen["forgets"][0]}
    found: dict[str, tuple[tuple[float, ...], str]] = {
        "coordinator idle": ((seen["idle_cores"],), "core"),
        "memory per link": ((1024 * seen["link_kib"],), "B"),
        "CreateForget": (of["create_s"], "s"),
        "forget created until suppressed, p50": (of["suppressed_p50_s"], "s"),
        "forget created until suppressed, p99": (of["suppressed_p99_s"], "s"),
        "the nodes' own work in it, on the load's core": (of["suppressing_s"], "s"),
        "bare grpc.aio: fan-out of 400 bytes, p99": ((floor["fanout_p99_s"],), "s"),
        "the same, times the floor": (tuple(p99 / floor["fanout_p99_s"] for p99 in of["suppressed_p99_s"]), "1"),
        "bare grpc.aio: memory per link": ((1024 * floor["link_kib"],), "B"),
        "forget created until converged": (of["converged_s"], "s"),
        "coordinator CPU per node and forget": (tuple(ms / 1000 for ms in of["cpu_ms_per_node"]), "s"),
    }
    if restart:
        found["all serving after a restart"] = ((seen["reconnected_s"],), "s")
    where = f"{nodes} links, {'PostgreSQL' if postgresql else 'SQLite'}{', TLS' if tls else ''}"
    for name, (values, unit) in found.items():
        yield Figure(f"{where}: {name}", values, unit, None if tls else _TARGETS.get(nodes, {}).get(name))


@contextmanager
def _database(postgresql: bool) -> Iterator[str | None]:
    if not postgresql:
        yield None
        return
    if (folder := programs()) is None:
        raise LoadFailedError("PostgreSQL is not installed")
    with PostgresServer(folder).database() as url:
        yield url


def _loaded(
    folder: Path, nodes: int, database: str | None, *, restart: bool, forgets: int, tls: bool = False
) -> dict[str, Any]:
    state, restarted = folder / "coordinator", folder / "restarted"
    server, served = _serve(state, database, tls)
    try:
        load = _start(
            "fleet_load",
            *("--address", served["address"], "--token-file", str(state / served["token_file"])),
            *(("--ca", str(state / served["ca_file"])) if tls else ()),
            *("--pid", str(served["pid"]), "--nodes", str(nodes), "--forgets", str(forgets)),
            *("--heartbeat", str(HEARTBEAT_S), *(("--restarted", str(restarted)) if restart else ())),
        )
        try:
            while restart and not restarted.exists():
                if load.poll() is not None:
                    break
                time.sleep(0.1)
            if restart:
                server.kill()
                server.wait()
                server, _ = _serve(state, database, tls)
            return _answer("fleet_load", load)
        finally:
            load.kill()
    finally:
        server.terminate()
        server.wait()


def _serve(state: Path, database: str | None, tls: bool) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    (state / SERVE_FILE).unlink(missing_ok=True)
    key = REGISTRY_KEY.public_key().public_bytes_raw().hex()
    command = [program("fleet"), "serve", "--state", str(state), "--no-flower", "--task", "test"]
    command += ["--metrics-port", "0"]
    command += ["--code-range", f"{CODES.features}:{CODES.code_max}", "--registry-key", key]
    command += [] if tls else ["--host", f"unix:{state.parent / 'serve.sock'}"]
    with (state.parent / "serve.log").open("ab") as log:
        server = subprocess.Popen([*command, *(("--database", database) if database else ())], stdout=log, stderr=log)
    while not (state / SERVE_FILE).exists():
        if server.poll() is not None:
            raise LoadFailedError((state.parent / "serve.log").read_text(encoding="utf-8"))
        time.sleep(0.1)
    return server, json.loads((state / SERVE_FILE).read_text(encoding="utf-8"))


def _start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tests.bench.workloads.{name}", *arguments]
    environment = {**os.environ, "GRPC_VERBOSITY": "ERROR"}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def _answer(name: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    said, _ = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise LoadFailedError(f"{name} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found


def _workload(name: str, *arguments: str) -> dict[str, Any]:
    return _answer(name, _start(name, *arguments))


SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "links-100": partial(under_load, 100),
    "links-300": partial(under_load, 300),
    "links-1000": partial(under_load, 1000, restart=True),
    "links-1000-tls": partial(under_load, 1000, tls=True),
    "links-1000-postgresql": partial(under_load, 1000, postgresql=True),
    # One forget, since it takes minutes.
    "links-10000": partial(under_load, 10_000, restart=True, forgets=1),
    "looks-10000": partial(looks, 10_000),
}
