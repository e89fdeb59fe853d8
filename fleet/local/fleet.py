"""Coordinator and node daemons of a whole fleet, as real processes on this machine."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.flower import program
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
from fleet.errors import FleetError
from fleet.local.engine_client import EngineClient
from fleet.local.errors import (
    EngineCallError,
    LocalFleetError,
    NodeRefusedError,
    ProcessEndedError,
    ProgrammedOtherwiseError,
    StartTimedOutError,
)
from fleet.local.layout import Layout
from fleet.local.node import LocalNode
from fleet.local.reaped import log_size, log_tail
from fleet.registry import Registry

logger = logging.getLogger(__name__)

_POLL_S = 0.1


@dataclass(frozen=True)
class LocalSettings:
    """What a fleet on this machine looks like.

    Parameters
    ----------
    state
        Folder of everything: databases, keys, logs.
    nodes
        Number of node daemons.
    lease_s
        How long a node out of contact goes on serving adapters.
    learning
        Whether there is a learning plane: a SuperLink, and a SuperNode beside each node.
    fleet_seed
        Seed of the simulated chips.
    restart_nodes
        Whether a node daemon that ends is started again.
    task, preset
        What the engines recognise, and on which chip technology.
    """

    state: Path
    nodes: int = 4
    lease_s: float = LOCAL_LEASE_S
    learning: bool = True
    fleet_seed: int = 1
    restart_nodes: bool = True
    task: str = "speakers"
    preset: str = "180nm-1t1r"

    def __post_init__(self) -> None:
        check_lease(self.lease_s)
        check_task(self.task)
        check_preset(self.preset)

    @property
    def layout(self) -> Layout:
        """Paths inside the folder."""
        return Layout(self.state)

    def check_folder(self) -> None:
        """Refuse a folder whose chips were programmed for something else; nothing is changed.

        Raises
        ------
        ProgrammedOtherwiseError
            With what they were programmed for.
        """
        before = self._read_programmed()
        if before is not None and before != self._programmed:
            was, asked = (
                " ".join(f"--{name.replace('_', '-')} {value}" for name, value in chips.items())
                for chips in (before, self._programmed)
            )
            raise ProgrammedOtherwiseError(
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
        #: Nodes of the fleet that are not started here; known after `start`.
        self.absent: list[str] = []
        self._say = say
        self._coordinator: SupervisedProcess | None = None
        self._processes: dict[int, ReapedProcess] = {}
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
        ProcessEndedError, StartTimedOutError
            With the end of the log of whichever process did not get ready.
        """
        deadline = time.monotonic() + timeout_s
        self.settings.check_folder()
        self.layout.create()
        self.settings.note_folder()
        self._start_coordinator()
        # Keys are made while the coordinator starts.
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            identities = list(pool.map(LocalNode.init, self.nodes))
        self.identities = {identity.node_id: identity for identity in identities}
        served = self._wait_for_coordinator(deadline)
        self._say(f"coordinator ready at {served.address}")
        with self.client() as client:
            mine = {node.node_id for node in self.nodes}
            self.absent = [node.node_id for node in client.list_nodes() if node.node_id not in mine]
            if self.absent:
                self._say(absence(self.absent))
            for index, node in enumerate(self.nodes):
                enrolment = client.enroll_node(self.identities[node.node_id])
                self.command_public_key = enrolment.command_public_key
                node.join(enrolment)
                self.start_node(index)
                self._say(f"{node.node_id} enrolled and started")
        for index in range(len(self.nodes)):
            self.wait_serving(index, deadline - time.monotonic())
        self._wait_seen(deadline)

    def stop(self) -> None:
        """End everything; returns when it is gone. Nodes go first, so that none reconnects in vain."""
        if self._processes:
            with ThreadPoolExecutor(len(self._processes)) as pool:
                list(pool.map(lambda process: process.stop(), self._processes.values()))
        if self._coordinator is not None:
            self._coordinator.stop(timeout_s=20.0)

    def served(self) -> Served:
        """Return what the coordinator says of itself."""
        return read_serve_file(self.layout.coordinator)

    def client(self) -> FleetClient:
        """Open a connection to the coordinator."""
        served = self.served()
        return FleetClient.from_token_file(served.address, served.token_file)

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
        """Start a node daemon; `wait_bound` and `wait_serving` tell when it is up."""
        node = self.nodes[index]
        # An earlier run's file would name ports that nobody listens on.
        node.run_file.unlink(missing_ok=True)
        command = node.run_command(
            task=self.settings.task,
            preset=self.settings.preset,
            fleet_seed=self.settings.fleet_seed,
            connect_delay_s=connect_delay_s,
            flower=self.settings.learning,
        )
        log = self.layout.log(node.node_id)
        self._log_starts[node.node_id] = log_size(log)
        kind = SupervisedProcess if self.settings.restart_nodes else ReapedProcess
        process = kind(node.node_id, command, log)
        process.start()
        self._processes[index] = process

    def kill_node(self, index: int) -> int:
        """SIGKILL a node daemon, as a power cut would; returns its process id. It stays down.

        Raises
        ------
        LocalFleetError
            If the settings have it restarted.
        ProcessError
            If it does not run.
        """
        process = self._processes[index]
        if isinstance(process, SupervisedProcess):
            raise LocalFleetError(f"{process.name} would be restarted at once: kill nodes of an unsupervised fleet")
        return process.kill()

    def wait_bound(self, index: int, timeout_s: float) -> None:
        """Return as soon as the node's EngineService answers."""
        self._wait(index, timeout_s, "answer", lambda status: True)

    def wait_serving(self, index: int, timeout_s: float) -> None:
        """Return when the node is connected and serves its adapters."""
        self._wait(
            index,
            timeout_s,
            "serve",
            lambda status: status.connected and status.serve_state == types.SERVE_STATE_SERVING,
        )

    def _wait(self, index: int, timeout_s: float, what: str, done: Callable[..., bool]) -> None:
        node, deadline = self.nodes[index], time.monotonic() + timeout_s
        with ExitStack() as stack:
            engine = None
            while time.monotonic() < deadline:
                self._refuse_ended(index)
                running = node.running()
                if engine is None and running is not None:
                    engine = stack.enter_context(node.engine())
                if running is not None and running.refusal:
                    raise self._refused(node, running.refusal)
                if engine is not None and _answers(engine, done):
                    return
                time.sleep(_POLL_S)
        raise StartTimedOutError(
            f"{node.node_id} does not {what} after {timeout_s:.0f} s", hint=self._log_tail(node.node_id)
        )

    def _wait_seen(self, deadline: float) -> None:
        # The coordinator hears of it with the next heartbeat; `fleet status` must not say less than we do.
        with self.client() as client:
            while time.monotonic() < deadline:
                nodes = [node for node in client.list_nodes() if node.node_id not in self.absent]
                if all(n.connected and n.serve_state == types.SERVE_STATE_SERVING for n in nodes):
                    return
                time.sleep(_POLL_S)
        raise StartTimedOutError("the coordinator does not see every node serving")

    def _refuse_ended(self, index: int) -> None:
        process, name = self._processes[index], self.nodes[index].node_id
        ended = process.restarts > 0 if isinstance(process, SupervisedProcess) else not process.alive
        if ended:
            raise ProcessEndedError(f"{name} ended while it was awaited", hint=self._log_tail(name))

    def _log_tail(self, name: str) -> str:
        return log_tail(self.layout.log(name), start=self._log_starts.get(name, 0))

    def _refused(self, node: LocalNode, reason: str) -> NodeRefusedError:
        hint = self._log_tail(node.node_id)
        try:
            with node.engine() as engine, self.client() as client:
                seen, known = engine.status().generation, client.get_fleet().generation
        except FleetError:
            seen = known = 0
        if seen > known:
            hint = (
                f"{node.node_id} has seen {seen} forgets, the coordinator knows {known}: it was restored "
                f"from an older backup. Bring the newest copy of {self.layout.coordinator} back. If there is "
                "none, nobody knows any more who was forgotten: start a new fleet in another folder "
                "(--state), and enrol anew whoever consents."
            )
        return NodeRefusedError(f"{node.node_id} cannot join: {reason}", hint=hint)

    def _start_coordinator(self) -> None:
        self.layout.serve_file.unlink(missing_ok=True)
        command = [
            program("fleet"),
            "serve",
            "--state",
            str(self.layout.coordinator),
            "--lease-seconds",
            str(self.settings.lease_s),
            "--task",
            self.settings.task,
            "--registry-key",
            self.registry.key().public_key().public_bytes_raw().hex(),
        ]
        if not self.settings.learning:
            command.append("--no-flower")
        log = self.layout.log("coordinator")
        self._log_starts["coordinator"] = log_size(log)
        self._coordinator = SupervisedProcess("coordinator", command, log)
        self._coordinator.start()

    def _wait_for_coordinator(self, deadline: float) -> Served:
        assert self._coordinator is not None, "called by start, after the coordinator"
        while time.monotonic() < deadline:
            if self._coordinator.restarts:
                raise ProcessEndedError(
                    "the coordinator ended while it was awaited", hint=self._log_tail("coordinator")
                )
            try:
                served = self.served()
                with self.client() as client:
                    client.get_fleet()
                return served
            except (NoCoordinatorError, UnavailableError):
                time.sleep(_POLL_S)
        raise StartTimedOutError("the coordinator does not answer in time", hint=self._log_tail("coordinator"))


def absence(node_ids: list[str]) -> str:
    """Return what to do about nodes of the fleet that are not started."""
    numbers = [int(name[5:]) for name in node_ids if name.startswith("node-") and name[5:].isdecimal()]
    start = f"start them with --nodes {max(numbers)}, or " if numbers else ""
    return (
        f"In this fleet, and not started: {', '.join(node_ids)}. Forgets wait for them: {start}take out what "
        "is gone with `fleet node retire NODE --reason ...`"
    )


def _answers(engine: EngineClient, done: Callable[..., bool]) -> bool:
    try:
        return done(engine.status())
    except EngineCallError:
        return False
