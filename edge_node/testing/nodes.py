"""Nodes of a test: on a state folder, or in memory; and the clock that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reram_fleet.crypto.key_store import MemoryKeyStore
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.agent.context import Clock, NodeContext
from edge_node.agent.node import Node
from edge_node.config import StateFolder
from edge_node.engine import NodeEngine
from edge_node.storage.journal import Journal
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from edge_node.testing.coordinator import FakeCoordinator
from edge_node.testing.engine import MemoryEngine
from hwmodel import Cost, Phase

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

#: Makes an engine, called with the cumulative costs from the journal, empty at the first start.
MakeEngine = Callable[[Mapping[Phase, Cost]], NodeEngine]

#: Of nodes that run no task of the product.
TASK, ENERGY_MODEL = "test", types.EnergyModel(name="memory", version="1")


@dataclass
class FakeClock:
    """Clock that moves when told to."""

    boottime: float = 1000.0
    unix: int = 1_800_000_000_000

    def boottime_s(self) -> float:
        """Return seconds since boot."""
        return self.boottime

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return self.unix

    def boot_id(self) -> str:
        """Return the one boot that there is."""
        return "boot"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.boottime += seconds
        self.unix += round(seconds * 1000)


def open_node(
    root: Path,
    coordinator: FakeCoordinator,
    clock: Clock,
    *,
    node_id: str = "node-1",
    make_engine: MakeEngine = MemoryEngine,
    image_generator: ImageGenerator | None = None,
) -> Node:
    """Open a node on a state folder, made if need be; again after `close` it is the same node, restarted."""
    folder = StateFolder(root)
    keys = NodeKeys.create(folder, node_id)
    return _start(
        keys,
        Journal.open(folder.journal, node_id),
        RecordCipher.of(folder, node_id),
        coordinator.enrollment("127.0.0.1:1"),
        clock,
        make_engine=make_engine,
        image_generator=image_generator,
    )


@dataclass(frozen=True)
class NodeBackup:
    """Copy of all that a node in memory keeps: its journal, and the keys that open it."""

    journal: bytes
    subject_keys: MemoryKeyStore
    revision_keys: MemoryKeyStore


class MemoryNode:
    """A real node without files, as cheap as it gets: journal, keys and engine in memory.

    It is told of its fleet by `join`, which starts it. Whatever a coordinator says goes to `receive`. Nodes may share
    an engine, each with a `node_index` of its own.

    Attributes
    ----------
    node
        The node as it runs now; another one after each restart.
    """

    node: Node

    def __init__(
        self,
        node_id: str = "node-1",
        *,
        clock: Clock | None = None,
        make_engine: MakeEngine = MemoryEngine,
        node_index: int = 0,
        image_generator: ImageGenerator | None = None,
        randomness: Randomness = SYSTEM,
        heartbeat_s: float = 1.0,
        task: str = TASK,
        energy_model: types.EnergyModel = ENERGY_MODEL,
        for_head: bool = True,
        calibrate_every_s: float | None = None,
    ) -> None:
        self.keys, self.clock = NodeKeys.in_memory(node_id, randomness.draw), clock or FakeClock()
        self._make_engine, self._image_generator, self._heartbeat_s = make_engine, image_generator, heartbeat_s
        self._node_index, self._task, self._energy_model = node_index, task, energy_model
        self._for_head, self._calibrate_every_s = for_head, calibrate_every_s
        self._randomness, draw = randomness, randomness.draw
        self._subject_keys, self._revision_keys = MemoryKeyStore(draw=draw), MemoryKeyStore(draw=draw)

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self.keys.node_id

    @property
    def identity(self) -> types.NodeIdentity:
        """Identity that a coordinator registers."""
        return self.keys.identity

    def join(self, enrollment: EnrollNodeResponse) -> None:
        """Take over what the registration answered, and start."""
        self.enrollment = enrollment
        self._start(b"")

    def receive(self, message: ConnectResponse) -> list[ConnectRequest]:
        """Act upon one message of the coordinator and return the answers: `Node.receive`."""
        return self.node.receive(message)

    def heartbeat(self) -> list[ConnectRequest]:
        """Return the sign of life, and what goes with it: `Node.heartbeat`."""
        return self.node.heartbeat()

    def active(self) -> dict[str, types.SubjectAdapter]:
        """Return the subject adapters in SRAM, by tag."""
        with self.node.context.lock:
            return {adapter.subject_tag: adapter for adapter in self.node.context.engine.active_subjects(0)}

    def restart(self) -> Node:
        """End the node in order and start it again; returns it."""
        self.node.save_counters()
        backup = self.backup()
        self.node.close()
        self.restore(backup)
        return self.node

    def backup(self) -> NodeBackup:
        """Return a copy of all that the node keeps."""
        journal = self.node.context.journal.content()
        return NodeBackup(journal, self._subject_keys.copy(), self._revision_keys.copy())

    def restore(self, backup: NodeBackup) -> None:
        """Start anew from a backup, as after a kill."""
        self._subject_keys, self._revision_keys = backup.subject_keys.copy(), backup.revision_keys.copy()
        self._start(backup.journal)

    def _opened(self, journal: bytes) -> Journal:
        return Journal.in_memory(self.node_id, journal)

    def _start(self, journal: bytes) -> None:
        self.node = _start(
            self.keys,
            self._opened(journal),
            RecordCipher(self.node_id, self._subject_keys, self._revision_keys, self._randomness.draw),
            self.enrollment,
            self.clock,
            make_engine=self._make_engine,
            node_index=self._node_index,
            image_generator=self._image_generator,
            randomness=self._randomness,
            heartbeat_s=self._heartbeat_s,
            task=self._task,
            energy_model=self._energy_model,
            for_head=self._for_head,
            calibrate_every_s=self._calibrate_every_s,
        )


def _start(
    keys: NodeKeys,
    journal: Journal,
    cipher: RecordCipher,
    enrollment: EnrollNodeResponse,
    clock: Clock,
    *,
    make_engine: MakeEngine,
    node_index: int = 0,
    image_generator: ImageGenerator | None,
    randomness: Randomness = SYSTEM,
    heartbeat_s: float = 1.0,
    task: str = TASK,
    energy_model: types.EnergyModel = ENERGY_MODEL,
    for_head: bool = True,
    calibrate_every_s: float | None = None,
) -> Node:
    node = Node(
        NodeContext(
            keys=keys,
            enrollment=enrollment,
            journal=journal,
            cipher=cipher,
            engine=make_engine(journal.costs()),
            node_index=node_index,
            image_generator=image_generator,
            energy_model=energy_model,
            for_head=for_head,
            task=task,
            clock=clock,
            randomness=randomness,
            heartbeat_s=heartbeat_s,
            calibrate_every_s=calibrate_every_s,
        )
    )
    node.started()
    return node
