"""Settings of every test."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from reram_fleet.processes.flower import ENVIRONMENT

import tests.compiled_statements  # noqa: F401  # listens to every engine
from tests.components import lacking
from tests.postgres import PostgresServer, programs

# Shared cores: how long an example takes says nothing. The same examples everywhere, so that red is red.
settings.register_profile("reram-fleet", deadline=None, derandomize=True)
settings.load_profile("reram-fleet")

# What tests start inherits these: no calls home from Flower, and one thread of linear algebra, here too,
# unless the caller says otherwise (`make test-cpu`).
os.environ.update(ENVIRONMENT)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what runs in the background ignore Ctrl-C; what tests start is to be interrupted all the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: A file system in memory, if it has room: no test pulls the plug, so what is written need not reach a disk.
MEMORY, ROOM_BYTES = "/dev/shm", 2 * 2**30


def _keep_files_in_memory() -> None:
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return
    if found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("TMPDIR", MEMORY)
        tempfile.tempdir = None


_keep_files_in_memory()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the garbage collector leave alone what stays until the end: it would walk through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


#: Third process of tests that compute, from the last file on: while two fleets wait, cores are idle.
GAP_FILLER, GAP_FILLER_NICENESS = "gw2", 5
#: Where its files are.
COMPUTING = "tests/unit/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let one process run all files that share a fleet, and a third one those that compute."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FleetScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            # A folder that is a package has one fleet, which takes a minute to get where its tests want it.
            file = Path(super()._split_scope(nodeid))
            return str(file.parent if (config.rootpath / file.parent / "__init__.py").exists() else file)

        def _assign_work_unit(self, node):
            if node.gateway.id == GAP_FILLER:
                # What is assigned is the first.
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

        def _reschedule(self, node):
            if node.gateway.id == GAP_FILLER and not next(reversed(self.workqueue), "").startswith(COMPUTING):
                node.shutdown()
            super()._reschedule(node)

    return FleetScheduling(config, log)


def pytest_configure():
    """Let the process that fills gaps compute when nobody else would."""
    if os.environ.get("PYTEST_XDIST_WORKER") == GAP_FILLER:
        os.nice(GAP_FILLER_NICENESS)


_postgres: PostgresServer | None = None


def pytest_collection_finish(session):
    """Start the session's PostgreSQL if a test wants it: before any test, none of which it then belongs to."""
    global _postgres
    wanted = any(item.get_closest_marker("postgresql") for item in session.items)
    if wanted and not session.config.option.collectonly and (found := programs()) is not None:
        _postgres = PostgresServer(found)


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """Return the session's PostgreSQL; a test that wants it is marked so."""
    if _postgres is None:
        reason = "no PostgreSQL here: apt-get install postgresql, or FLEET_TEST_PG_BIN=folder of its programs"
        lacking(reason)
    return _postgres


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Address of a database of the test's own, with every table in it."""
    with postgres.database() as url:
        yield url


#: Files whose tests start processes, with the reason: such tests are slow, so there are only those that must be.
STARTING_PROCESSES: dict[str, str] = tomllib.loads((Path(__file__).parent / "processes.toml").read_text())
_running = ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Remember which file's test is running, its fixtures included."""
    global _running
    _running = item.nodeid.partition("::")[0]
    try:
        return (yield)
    finally:
        _running = ""


def _refuse_unnamed_processes(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen" and _running and _running not in STARTING_PROCESSES and "CI" in os.environ:
        raise RuntimeError(f"{_running} starts {arguments[0]!r}: say in tests/processes.toml why it must")


sys.addaudithook(_refuse_unnamed_processes)
