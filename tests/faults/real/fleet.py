"""Fleet of real processes that can be hurt: each node behind a link that fails, folders on small disks."""

from __future__ import annotations

import contextlib
import os
from asyncio import AbstractEventLoop
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil
from google.protobuf.message import Message
from reram_fleet.processes.backoff import Backoff
from reram_fleet.processes.supervised import ReapedProcess, SupervisedProcess
from reram_fleet.processes.token_client import R
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from fleet.client import FleetClient
from fleet.local.engine_client import EngineClient
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.local.node import LocalNode
from tests.faults.real.links import Link, NetworkNamespace, running_loop
from tests.faults.real.plans import LEASE_S, Means
from tests.faults.real.storage import Database, SmallDisk, mount_privately
from tests.faults.rig import processes_of
from tests.postgres import programs

#: A call that is not answered by then is made again: whoever is called may stand still.
PATIENCE_S = 2.0
#: A process that is hurt again and again must not be waited for longer and longer.
_BACKOFF = Backoff(first_s=0.2, longest_s=0.4)
#: Megabytes of the small disks: with a SuperLink's database on one, and Flower's files of a SuperNode on the other.
_COORDINATOR_MB, _NODE_MB = 64, 48
#: Folder of what Python runs first where a bug is planted.
_STARTUP = Path(__file__).parent / "startup"


class ImpatientClient(FleetClient):
    """Operator who does not wait for a coordinator that stands still."""

    def call(self, method: object, answer: type[R], request: Message, timeout_s: float = PATIENCE_S) -> R:
        """Call a method of the stub."""
        return super().call(method, answer, request, min(timeout_s, PATIENCE_S))


class ImpatientEngineClient(EngineClient):
    """Application that does not wait for a node that stands still."""

    def call(self, method: object, answer: type[R], request: Message, timeout_s: float) -> R:
        """Call a method of the stub."""
        return super().call(method, answer, request, min(timeout_s, 3 * PATIENCE_S))


@dataclass(frozen=True)
class LinkedNode(LocalNode):
    """Node that reaches everything through its link."""

    link: Link

    def join(self, enrolment: EnrollNodeResponse) -> None:
        """Tell the node which coordinator to trust, by the address of its proxy."""
        linked = EnrollNodeResponse()
        linked.CopyFrom(enrolment)
        linked.node_service_address = self.link.through(enrolment.node_service_address)
        if enrolment.flower_fleet_address:
            linked.flower_fleet_address = self.link.through(enrolment.flower_fleet_address)
        super().join(linked)

    def run_command(self, *options: str) -> list[str]:
        """Return the argument vector of the daemon."""
        namespace = self.link.namespace
        inside = [] if namespace is None else ["nsenter", f"--net={namespace.path}", "--"]
        return [*inside, *super().run_command(*options)]

    def engine(self) -> EngineClient:
        """Open a connection to the running daemon's engine."""
        return ImpatientEngineClient.from_token_file(
            self.node_id, self._running().engine_address, self.state / "engine.token"
        )


class HurtFleet(LocalFleet):
    """Local fleet whose processes can be found, and are started again at once.

    Parameters
    ----------
    database
        A PostgreSQL of its own; None: SQLite.
    mounts
        Whether folders may be on small file systems.
    """

    def __init__(
        self, settings: LocalSettings, loop: AbstractEventLoop, database: Database | None, *, mounts: bool
    ) -> None:
        super().__init__(settings)
        self.database = database
        self.layout.create()
        namespaces = [_namespace(), *[None] * (settings.nodes - 1)]
        self.links = [Link(loop, namespace) for namespace in namespaces]
        self.nodes: list[LocalNode] = [
            LinkedNode(node.node_id, node.state, link) for node, link in zip(self.nodes, self.links, strict=True)
        ]
        last = self.nodes[-1]
        self.disks = {
            "coordinator": SmallDisk(self.layout.coordinator, _COORDINATOR_MB, mounts=mounts),
            last.node_id: SmallDisk(last.state, _NODE_MB, mounts=mounts),
        }

    def impatient_client(self) -> FleetClient:
        """Open a connection to the coordinator, also to one that stands still."""
        served = self.served()
        return ImpatientClient.from_files(served.address, served.token_file, served.ca_file)

    def process(self, who: str) -> psutil.Process | None:
        """Return a process by its name; None if it does not run now."""
        owner = "coordinator" if who in ("superlink", "superexec") else who.removeprefix("super")
        reaper = self._processes[owner].pid
        if reaper is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(reaper).children(recursive=who != owner)
            if who != owner:
                family = [each for each in family if _runs(each, f"flower-{who.partition('-')[0]}")]
            return min(family, key=psutil.Process.create_time, default=None)
        return None

    def _start(
        self, name: str, command: Sequence[str], kind: type[ReapedProcess], flower: Sequence[str] = ("--no-flower",)
    ) -> None:
        super()._start(name, command, kind, flower)
        process = self._processes[name]
        assert isinstance(process, SupervisedProcess)
        process.backoff = _BACKOFF

    def stop(self) -> None:
        """End everything."""
        super().stop()
        for link in self.links:
            link.close()
        for disk in self.disks.values():
            disk.close()


def _runs(process: psutil.Process, name: str) -> bool:
    command = process.cmdline()
    return "reram_fleet.processes.reaper" not in command and any(Path(word).name == name for word in command[:2])


def _namespace() -> NetworkNamespace | None:
    try:
        return NetworkNamespace()
    except OSError:
        return None


@contextmanager
def hurt_fleet(folder: Path, means: Means, mutant: str = "") -> Iterator[HurtFleet]:
    """Start a fleet, perhaps with a planted bug, and end it with all that was started for it."""
    settings = LocalSettings(folder, nodes=means.nodes, lease_s=LEASE_S, learning=means.learning)
    with ExitStack() as ending:
        database = None
        if means.database:
            found = programs()
            assert found is not None, "no PostgreSQL here: apt-get install postgresql, or FLEET_TEST_PG_BIN=folder"
            database = Database(found)
            ending.callback(database.close)
            database.start()
        # A configuration of whoever runs this must not matter.
        mine = {"FLEET_CONFIG": str(folder / "none.toml"), "FLEET_DATABASE": database.url if database else ""}
        if mutant:
            paths = [str(_STARTUP), str(_STARTUP.parents[3]), os.environ.get("PYTHONPATH", "")]
            mine |= {"RERAM_FLEET_MUTANT": mutant, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        ending.enter_context(patch.dict(os.environ, mine))
        loop = ending.enter_context(running_loop())
        fleet = ending.enter_context(HurtFleet(settings, loop, database, mounts=mount_privately()))
        fleet.start()
        yield fleet
    left = processes_of(folder)
    assert not left, f"still running: {left}"
