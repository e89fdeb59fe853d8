"""Fleet of real processes on this machine: a coordinator and node daemons."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.flower import free_port, program
from reram_fleet.processes.supervised import ReapedProcess, SupervisedProcess
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.types_pb2 import NodeIdentity

from fleet.client import FleetClient, UnavailableError
from fleet.config import (
    LOCAL_LEASE_S,
    NoCoordinatorError,
    Served,
    check_lease,
    check_preset,
    check_task,
    read_serve_file,
)
from fleet.errors import AwaitedNodesError, ConflictError, FleetError
from fleet.local.deadline import Deadline
from fleet.local.engine_client import EngineClient
from fleet.local.errors import EngineCallError, LocalFleetError
from fleet.local.layout import Layout, log_tail
from fleet.local.node import LocalNode
from fleet.local.prometheus import PROGRAM, prometheus_command, prometheus_program
from fleet.registry import Registry

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_COORDINATOR = "coordinator"
_PROMETHEUS_PORTS = range(20_000, 32_000)
_SCRAPED_WITHIN_S = 5.0


@dataclass(frozen=True)
class LocalSettings:
    """Settings of a fleet on this machine."""

    #: Folder of everything: databases, keys, logs.
    state: Path
    nodes: int = 4
    #: How long a node out of contact goes on serving adapters.
    lease_s: float = LOCAL_LEASE_S
    #: Whether there is a learning plane: a SuperLink, and a SuperNode beside each node.
    learning: bool = True
    #: Of the simulated chips.
    fleet_seed: int = 1
    #: Whether a node daemon that ends is started again.
    restart_nodes: bool = True
    #: What the nodes recognise or generate, and on which chip technology.
    task: str = "speakers"
    preset: str = "180nm-1t1r"
    #: Metrics port of the coordinator; the nodes have those that follow. 0: free ones.
    metrics_port: int = 0
    #: Port of a Prometheus that scrapes the fleet; None: without.
    prometheus_port: int | None = None

    def __post_init__(self) -> None:
        check_lease(self.lease_s)
        check_task(self.task)
        check_preset(self.preset)
        if self.prometheus_port is not None:
            prometheus_program()

    def metrics_port_of(self, node: int) -> int:
        """Return the metrics port of a node, by index."""
        return self.metrics_port and self.metrics_port + 1 + node

    @property
    def layout(self) -> Layout:
        """Paths inside the folder."""
        return Layout(self.state)

    @classmethod
    def of_folder(cls, state: Path, nodes: int) -> Self:
        """Return settings of a fleet that was started in a folder before, by what its chips were programmed for."""
        programmed: Any = cls(state, nodes)._read_programmed() or {}
        return cls(state, nodes, **programmed)

    def check_folder(self) -> None:
        """Refuse a folder whose chips were programmed for something else; nothing is changed.

        Raises
        ------
        ConflictError
            With what they were programmed for.
        """
        before = self._read_programmed()
        if before is not None and before != self._programmed:
            was, asked = (
                " ".join(f"--{name.replace('_', '-')} {value}" for name, value in chips.items())
                for chips in (before, self._programmed)
            )
            raise ConflictError(
                f"the chips of the fleet in {self.state} were programmed for {was}, not for {asked}",
                hint="start it as before, or another fleet in another folder (--state)",
            )

    def note_folder(self) -> None:
        """Remember what the chips in this folder are programmed for."""
        if self._read_programmed() is None:
            write_atomically(self.layout.programmed, json.dumps(self._programmed).encode())

    @property
    def _programmed(self) -> dict[str, object]:
        return {"task": self.task, "preset": self.preset, "fleet_seed": self.fleet_seed}

    def _read_programmed(self) -> dict[str, object] | None:
        path = self.layout.programmed
        try:
            found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
            return found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise LocalFleetError(f"{path} cannot be read: {error}") from error


class LocalFleet:
    """Starts the processes and ends them; use it in a `with` statement.

    Call `start` and `start_node` from a thread that lives as long as the fleet shall: the
    kernel ends a node daemon together with the thread that started it.
    """

    def __init__(self, settings: LocalSettings, say: Callable[[str], None] = logger.info) -> None:
        self.settings = settings
        self.layout = settings.layout
        self.nodes = [LocalNode(f"node-{i + 1}", self.layout.node(f"node-{i + 1}")) for i in range(settings.nodes)]
        self.identities: dict[str, NodeIdentity] = {}
        #: The key that nodes check commands with, and auditors certificates; known after `start`.
        self.command_public_key = b""
        #: host:port of the Prometheus; known after `start`, if there is one.
        self.prometheus = ""
        #: Nodes of the fleet that are not started here; known after `start`.
        self.absent: list[str] = []
        self._say = say
        self._processes: dict[str, ReapedProcess] = {}
        #: Where in each log this run begins: what an earlier one complained of is not this one's failure.
        self._log_starts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout_s: float = 180.0) -> None:
        """Start everything; returns when every node serves.

        Raises
        ------
        LocalFleetError
            With the end of the log of whichever process did not get ready.
        """
        deadline = Deadline.of(timeout_s)
        self.settings.check_folder()
        self.layout.create()
        self.settings.note_folder()
        self._start_coordinator()
        # Keys are made while the coordinator starts.
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            identities = list(pool.map(LocalNode.init, self.nodes))
        self.identities = {identity.node_id: identity for identity in identities}
        self._wait(_COORDINATOR, "answers", self._coordinator_answers, deadline)
        self._say(f"coordinator ready at {self.served().address}")
        with self.client() as client:
            mine = {node.node_id for node in self.nodes}
            self.absent = [node.node_id for node in client.list_nodes().items if node.node_id not in mine]
            if self.absent:
                self._say(absence(self.absent))
            for index, node in enumerate(self.nodes):
                enrolment = client.enroll_node(self.identities[node.node_id])
                self.command_public_key = enrolment.command_public_key
                node.join(enrolment)
                self.start_node(index)
                self._say(f"{node.node_id} enrolled and started")
            for index in range(len(self.nodes)):
                self.wait_serving(index, deadline.left_s)
            # The coordinator hears of it with the next heartbeat; `fleet status` must not say less than we do.
            self._wait(_COORDINATOR, "sees every node serving", lambda: self._all_seen(client), deadline)
        if self.settings.prometheus_port is not None:
            self._start_prometheus(self.settings.prometheus_port)
            self._wait(PROGRAM, "scrapes the fleet", self._is_scraped, deadline)
            self._say(f"Prometheus ready at {self.prometheus}")

    def stop(self) -> None:
        """End everything; returns when it is gone. Nodes go first, so that none reconnects in vain."""
        nodes = [process for name, process in self._processes.items() if name != _COORDINATOR]
        if nodes:
            with ThreadPoolExecutor(len(nodes)) as pool:
                list(pool.map(lambda process: process.stop(), nodes))
        if _COORDINATOR in self._processes:
            self.stop_coordinator()

    def stop_coordinator(self) -> None:
        """End the coordinator; nodes reconnect when it is started again."""
        self._processes[_COORDINATOR].stop(timeout_s=20.0)

    def start_coordinator(self, timeout_s: float = 60.0) -> None:
        """Start the coordinator; returns when it answers."""
        self._start_coordinator()
        self._wait(_COORDINATOR, "answers", self._coordinator_answers, Deadline.of(timeout_s))

    def served(self) -> Served:
        """Return what the coordinator says of itself."""
        return read_serve_file(self.layout.coordinator)

    def addresses(self) -> list[str]:
        """Return what a person can look at while the fleet runs, a line each."""
        served = self.served()
        lines = [f"coordinator: {served.address}, http://{served.metrics_address}/metrics (/metrics/nodes, /healthz)"]
        for node in self.nodes:
            found = node.addresses()
            metrics = f"http://{found['metrics_address']}/metrics"
            lines.append(f"{node.node_id}: engine {found['engine_address']}, {metrics}")
        return lines + ([f"Prometheus: http://{self.prometheus}"] if self.prometheus else [])

    def client(self) -> FleetClient:
        """Open a connection to the coordinator."""
        served = self.served()
        return FleetClient.from_files(served.address, served.token_file, served.ca_file)

    @property
    def registry(self) -> Registry:
        """The caller's map of people to tags, and its key."""
        return Registry(self.layout.registry)

    def ticket(self, tag: str, *indices: int) -> types.Envelope:
        """Return the registry's ticket for a tag on some nodes, by index; on all if none is named."""
        nodes = [self.nodes[index].node_id for index in indices or range(len(self.nodes))]
        return self.registry.ticket(tag, self.served().fleet_id, nodes)

    def engine(self, index: int) -> EngineClient:
        """Open a connection to a node's engine."""
        return self.nodes[index].engine()

    def start_node(self, index: int, *, connect_delay_s: float = 0.0) -> None:
        """Start a node daemon; `wait_serving` tells when it is up."""
        node, settings = self.nodes[index], self.settings
        # An earlier run's file would name ports that nobody listens on.
        node.run_file.unlink(missing_ok=True)
        options = {
            "--task": settings.task,
            "--preset": settings.preset,
            "--fleet-seed": str(settings.fleet_seed),
            "--connect-delay": str(connect_delay_s),
            "--metrics-port": str(settings.metrics_port_of(index)),
        }
        command = node.run_command(*(text for option in options.items() for text in option))
        self._start(node.node_id, command, SupervisedProcess if settings.restart_nodes else ReapedProcess)

    def kill_node(self, index: int) -> int:
        """SIGKILL a node daemon, as a power cut would; returns its process id. It stays down.

        Raises
        ------
        LocalFleetError
            If the settings have it restarted.
        ProcessError
            If it does not run.
        """
        process = self._processes[self.nodes[index].node_id]
        if isinstance(process, SupervisedProcess):
            raise LocalFleetError(f"{process.name} would be restarted at once: kill nodes of an unsupervised fleet")
        return process.kill()

    def wait_serving(self, index: int, timeout_s: float) -> None:
        """Return when the node is connected and serves its adapters."""
        node = self.nodes[index]

        def serves() -> bool:
            running = node.running()
            if running is None:
                return False
            if running.refusal:
                hint = self._log_tail(node.node_id)
                raise LocalFleetError(f"{node.node_id} cannot join: {running.refusal}", hint=hint)
            try:
                with node.engine() as engine:
                    status = engine.status()
            except EngineCallError:
                return False
            return status.connected and status.serve_state == types.SERVE_STATE_SERVING

        self._wait(node.node_id, "serves", serves, Deadline.of(timeout_s))

    def _wait(self, name: str, what: str, done: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until a process that runs does something; whether it has ended is looked at before each try."""
        process = self._processes[name]

        def found() -> bool | None:
            ended = process.restarts > 0 if isinstance(process, SupervisedProcess) else not process.alive
            if ended:
                who = f"the {name}" if name == _COORDINATOR else name
                raise LocalFleetError(f"{who} ended while it was awaited", hint=self._log_tail(name))
            return done() or None

        deadline.until(f"{name} {what}", found, poll_s=_POLL_S, hint=lambda: self._awaiting() or self._log_tail(name))

    def _coordinator_answers(self) -> bool:
        try:
            with self.client() as client:
                client.get_fleet()
        except (NoCoordinatorError, UnavailableError):
            return False
        return True

    def _all_seen(self, client: FleetClient) -> bool:
        nodes = [node for node in client.list_nodes().items if node.node_id not in self.absent]
        return all(node.connected and node.serve_state == types.SERVE_STATE_SERVING for node in nodes)

    def _log_tail(self, name: str) -> str:
        return log_tail(self.layout.log(name), start=self._log_starts[name])

    def _awaiting(self) -> str:
        """Return why no node serves, if the coordinator was restored and has not heard all of them."""
        try:
            with self.client() as client:
                awaited = [node.node_id for node in client.list_nodes().items if node.awaited_since_unix_ms]
                waits = client.get_fleet().nodes_awaited
        except FleetError:
            return ""
        error = AwaitedNodesError(awaited)
        return f"{error}. Next: {error.hint}" if waits else ""

    def _start_coordinator(self) -> None:
        self.layout.serve_file.unlink(missing_ok=True)
        options = {
            "--state": str(self.layout.coordinator),
            "--lease-seconds": str(self.settings.lease_s),
            "--metrics-port": str(self.settings.metrics_port),
            "--task": self.settings.task,
            "--registry-key": self.registry.key().public_key().public_bytes_raw().hex(),
        }
        command = [program("fleet"), "serve", *(text for option in options.items() for text in option)]
        self._start(_COORDINATOR, command, SupervisedProcess)

    def _start_prometheus(self, port: int) -> None:
        port = port or free_port(_PROMETHEUS_PORTS)
        self.prometheus = f"127.0.0.1:{port}"
        command = prometheus_command(self.layout.prometheus, port, self.served().metrics_address)
        self._start(PROGRAM, command, SupervisedProcess, flower=())

    def _is_scraped(self) -> bool:
        """Whether the coordinator has been scraped, and the nodes as it sees them."""
        query = f"http://{self.prometheus}/api/v1/query?query=sum(up{{job=~%22fleet-.*%22}})"
        # Without proxies: this is the loopback interface.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(query, timeout=_SCRAPED_WITHIN_S) as answer:
                found = json.load(answer)["data"]["result"]
        except (OSError, ValueError, KeyError):
            return False
        return bool(found) and float(found[0]["value"][1]) >= 2

    def _start(
        self, name: str, command: Sequence[str], kind: type[ReapedProcess], flower: Sequence[str] = ("--no-flower",)
    ) -> None:
        log = self.layout.log(name)
        self._log_starts[name] = log.stat().st_size if log.exists() else 0
        without = () if self.settings.learning else flower
        process = self._processes[name] = kind(name, [*command, *without], log)
        process.start()


def absence(node_ids: list[str]) -> str:
    """Return what to do about nodes of the fleet that are not started."""
    numbers = [int(name[5:]) for name in node_ids if name.startswith("node-") and name[5:].isdecimal()]
    start = f"start them with --nodes {max(numbers)}, or " if numbers else ""
    return (
        f"In this fleet, and not started: {', '.join(node_ids)}. Forgets wait for them: {start}take out what "
        "is gone with `fleet node retire NODE --reason ...`"
    )
