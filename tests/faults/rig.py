"""A small real fleet, and what the fault tests do to it again and again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.flower import program
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse, IdentifyResponse
from reram_fleet.v1.operator_pb2 import Execution, Forget

from fleet.client import FleetClient, UnavailableError
from fleet.config import NoCoordinatorError
from fleet.domain.campaign import CampaignState
from fleet.lab.demo.people import DemoPeople, load_demo_people
from fleet.local.deadline import Deadline
from fleet.local.errors import EngineCallError, LocalFleetError
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.registry import Registry

T = TypeVar("T")

#: For one thing to come true, on a machine that others use as well.
LIMIT_S = 120.0


def eventually(what: str, probe: Callable[[], T | None], limit_s: float = LIMIT_S, *, poll_s: float = 0.2) -> T:
    """Return the first answer of a probe that is not None (False counts as no answer as well)."""
    return Deadline.of(limit_s).until(what, lambda: probe() or None, poll_s=poll_s)


@dataclass
class Rig:
    """A running fleet with a client, the caller's registry, and people who can be enrolled."""

    fleet: LocalFleet
    client: FleetClient
    people: DemoPeople = field(default_factory=load_demo_people)
    #: Tag of somebody whom no test forgets.
    kept: str = ""
    #: Of everybody who was enrolled: good on every node.
    tickets: dict[str, types.Envelope] = field(default_factory=dict)

    @property
    def registry(self) -> Registry:
        """The caller's map of people to tags."""
        return Registry(self.fleet.layout.registry)

    def enrol(self, person: int, nodes: Sequence[int] = (0,), *, samples: int = 8) -> str:
        """Enrol one of the people under a new tag; returns it once every node serves it."""
        who = self.people.enrolled[person]
        tag = self.registry.enrol(who.name)
        self.tickets[tag] = self.fleet.ticket(tag)
        known = self.client.get_fleet().subjects
        for part, node in enumerate(nodes):
            with self.fleet.engine(node) as engine:
                engine.enroll(self.tickets[tag], who.train[part : part + samples * len(nodes) : len(nodes)])
        # The nodes know the person at once, the coordinator by what they contribute.
        eventually(f"{tag} is contributed", lambda: self.client.get_fleet().subjects == known + 1)
        self.wait_active_everywhere(tag)
        return tag

    def wait_active_everywhere(self, tag: str) -> None:
        """Return once every node has the desired revision, with this tag."""

        def active() -> bool:
            desired = self.client.get_fleet()
            found = [self.status(node) for node in range(len(self.fleet.nodes))]
            return all(s.revision == desired.revision and tag in s.subject_tags for s in found)

        eventually(f"{tag} is active on every node", active)

    def forget(self, *tags: str, request_id: str | None = None) -> Forget:
        """Commit a forget and return what CreateForget answered."""
        return self.client.create_forget(request_id or new_tag(), sorted(tags)).forget

    def wait_converged(self, campaign_id: str, limit_s: float = LIMIT_S) -> Forget:
        """Return the campaign once every node has verified; the coordinator may be away meanwhile."""

        def converged() -> Forget | None:
            forget = self.patiently(lambda: self.client.get_forget(campaign_id))
            return forget if forget.state == CampaignState.CONVERGED else None

        return eventually(f"campaign {campaign_id} converges", converged, limit_s)

    def check_logged_once(self, forget: Forget, since: int) -> None:
        """Check that the Merkle log has grown by the command of a forget and by what nodes were asked for."""
        nodes = sum(count.nodes for count in forget.counts)
        receipts = self.client.get_fleet().log_size - since - 1
        # A receipt that a newer revision overtook on its way is logged as well, and asked for once more.
        assert nodes <= receipts <= 2 * nodes

    def patiently(self, call: Callable[[], T]) -> T:
        """Make a call, again while the coordinator does not answer."""

        def once() -> tuple[T] | None:
            try:
                return (call(),)
            except UnavailableError:
                return None

        return eventually("the coordinator answers", once)[0]

    def execution(self, campaign_id: str, node: int) -> Execution:
        """Return a campaign's execution on one node."""
        return self.client.list_executions(campaign_id, self.fleet.nodes[node].node_id).items[0]

    def status(self, node: int) -> GetStatusResponse:
        """Ask a node's engine for its state."""
        with self.fleet.engine(node) as engine:
            return engine.status()

    def identify(self, node: int, person: int, samples: int = 4) -> IdentifyResponse:
        """Show some test samples of a person to a node."""
        with self.fleet.engine(node) as engine:
            return engine.identify(self.people.enrolled[person].test[:samples])

    def names(self, node: int, person: int) -> set[str]:
        """Return the tags that a node names for a person's test samples, accepted or not."""
        answers = self.identify(node, person).answers
        found = {(a.best_tag, a.best_tag_subject_only, a.best_tag_without_head) for a in answers}
        return {tag for tags in found for tag in tags} - {""}

    def answers(self, node: int) -> bool:
        """Whether a node's engine answers."""
        try:
            return bool(self.status(node).node_id)
        except LocalFleetError:
            return False

    def serves(self, node: int) -> bool:
        """Whether a node is connected and serves its adapters."""
        try:
            status = self.status(node)
        except EngineCallError:
            return False
        return status.connected and status.serve_state == types.SERVE_STATE_SERVING

    def restart_node(self, node: int, *, connect_delay_s: float = 0.0) -> None:
        """Start a node that was killed; returns once its engine answers."""
        self.fleet.start_node(node, connect_delay_s=connect_delay_s)
        eventually(f"node {node} answers", lambda: self.answers(node))

    def kill_coordinator(self) -> int:
        """SIGKILL the coordinator; its supervisor starts it anew. Returns the id of the dead process."""
        pid = self.fleet.served().pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_coordinator_after(self, dead: int) -> None:
        """Return once another process than the dead one serves as coordinator."""

        def replaced() -> bool:
            try:
                return self.fleet.served().pid != dead and bool(self.client.get_fleet().fleet_id)
            except (NoCoordinatorError, UnavailableError):
                return False

        eventually("the coordinator is back", replaced)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `fleet` command against this fleet, as an operator would."""
        served = self.fleet.served()
        connection = ("--address", served.address, "--ca", str(served.ca_file), "--token-file", str(served.token_file))
        registry = ("--registry", str(self.fleet.layout.registry))
        # A configuration of whoever runs the tests must not matter.
        environment = {**os.environ, "FLEET_CONFIG": str(self.fleet.layout.root / "none.toml"), "NO_COLOR": "1"}
        return subprocess.run(
            [program("fleet"), *connection, *registry, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
        )


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Hold a process with SIGSTOP: it is there, its ports are open, and it says nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return all processes that name this folder in their command line or environment, but not ourselves."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.cmdline()
            # Of a process that keeps its memory private, only root may read the environment.
            with contextlib.suppress(psutil.AccessDenied):
                told += process.environ().values()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(folder) in text for text in told):
            found.append(process)
    return found


@contextmanager
def running_rig(settings: LocalSettings) -> Iterator[Rig]:
    """Start a fleet; end it, and make sure that no process of it is left."""
    with LocalFleet(settings) as fleet:
        fleet.start()
        with fleet.client() as client:
            yield Rig(fleet, client)
        started = processes_of(settings.state)
    assert len(started) > settings.nodes, "a fleet has a coordinator and nodes: were they looked for rightly?"
    _, alive = psutil.wait_procs(started, timeout=5.0)
    assert not alive, f"still running after stop: {alive}"
    assert not processes_of(settings.state), "processes were started while the fleet was being stopped"
