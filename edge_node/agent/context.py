"""Context of a node: clock, keys, journal, engine and counters, which all parts of its state machine share."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from reram_fleet.crypto import signing
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.engine import NodeEngine, RecognitionEngine
from edge_node.errors import ProtocolError
from edge_node.storage.journal import Journal
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from hwmodel import Cost, LedgerMark, Phase

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

#: Counters that a crash may lose are those of the last few seconds.
SAVE_EVERY_S = 10.0

Signed = TypeVar("Signed", types.Lease, types.RevisionManifest, types.JobTicket, node_pb2.RestoreNotice)


class Clock(Protocol):
    """Clock of a node: passed in, so that tests own time."""

    def boottime_s(self) -> float:
        """Return seconds since boot, suspension included; never set back."""

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds; advisory, except for the expiry of tickets."""

    def boot_id(self) -> str:
        """Return the random id of this boot: that of another one has other seconds."""


class SystemClock:
    """Clock of the machine, by CLOCK_BOOTTIME: a device that slept through its lease wakes up without one."""

    def boottime_s(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return time.time_ns() // 1_000_000

    def boot_id(self) -> str:
        """Return the kernel's random id of this boot."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, eq=False, kw_only=True)
class NodeContext:
    """Parts of one node, each made for it alone.

    Attributes
    ----------
    node_index
        The node on the engine's node axis: the only one, but in a simulated fleet, whose nodes share an engine.
    for_head
        Whether what is contributed of people is also what the closed-form head is solved from: features squared.
    image_generator
        Where classes are learnt and images generated; None on a node that recognises.
    heartbeat_s
        Between two heartbeats; the coordinator may ask for fewer.
    calibrate_every_s
        Between two calibrations of the chip; None: only at a start.
    lock
        Held by every public method of `Node`, from start to end but for what its docstring names.
    """

    keys: NodeKeys
    enrollment: EnrollNodeResponse
    journal: Journal
    cipher: RecordCipher
    engine: NodeEngine
    node_index: int = 0
    clock: Clock
    randomness: Randomness = SYSTEM
    task: str
    energy_model: types.EnergyModel
    image_generator: ImageGenerator | None = None
    for_head: bool = True
    heartbeat_s: float = 1.0
    calibrate_every_s: float | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self.keys.node_id

    @property
    def fleet_id(self) -> str:
        """The fleet that the node has joined."""
        return self.enrollment.fleet_id

    @cached_property
    def recognition(self) -> RecognitionEngine | None:
        """The engine where it has what only recognition has: LoRA, head, rounds; None on a node that generates."""
        return self.engine if isinstance(self.engine, RecognitionEngine) else None

    @cached_property
    def meter(self) -> Meter:
        """The node's counters."""
        return Meter(self.engine, self.node_index, self.journal, self.clock)

    def verified(self, envelope: types.Envelope, kind: type[Signed]) -> Signed:
        """Return what the coordinator has signed for this fleet.

        `ProtocolError` if the signature does not hold, or it is of another fleet.
        """
        try:
            payload = signing.open_envelope(envelope, kind, self.enrollment.command_public_key)
        except signing.SignatureError as error:
            raise ProtocolError(f"a message does not verify: {error}") from error
        if payload.fleet_id != self.fleet_id:
            raise ProtocolError(f"a message is of fleet {payload.fleet_id!r}, not {self.fleet_id!r}")
        return payload


class Meter:
    """Cumulative counters of a node: its row of the engine's ledger, and the inferences that it was asked for."""

    def __init__(self, engine: NodeEngine, node_index: int, journal: Journal, clock: Clock) -> None:
        self._ledger, self._node_index, self._journal, self._clock = engine.ledger, node_index, journal, clock
        self.inferences, self.stale_refused = journal.inference_counts()
        self._saved_at_s = clock.boottime_s()

    def mark(self) -> LedgerMark:
        """Return this moment, for `since`."""
        return self._ledger.mark(self._node_index)

    def since(self, mark: LedgerMark) -> dict[Phase, Cost]:
        """Return what has been spent since a mark."""
        return self._ledger.since(mark)

    def charge(self, costs: Mapping[Phase, Cost]) -> None:
        """Add what was spent outside the engine."""
        for phase, cost in costs.items():
            self._ledger.charge(phase, cost, self._node_index)

    def totals(self) -> dict[Phase, Cost]:
        """Return what has been spent since the node was made, by phase."""
        return self._ledger.totals(self._node_index)

    def telemetry(
        self, spent: Mapping[Phase, Cost], energy_model: types.EnergyModel, adapters: int
    ) -> node_pb2.Telemetry:
        """Return totals and counters as they travel, beside the number of subject adapters."""
        return node_pb2.Telemetry(
            costs=phase_costs(spent),
            energy_model=energy_model,
            inferences=self.inferences,
            stale_inferences_refused=self.stale_refused,
            subject_adapters=adapters,
        )

    @property
    def overdue(self) -> bool:
        """Whether the last save is too long ago."""
        return self._clock.boottime_s() - self._saved_at_s >= SAVE_EVERY_S

    def save(self) -> None:
        """Store the counters, as part of a transaction of the caller's."""
        self._journal.save_counters(self.totals(), self.inferences, self.stale_refused)
        self._saved_at_s = self._clock.boottime_s()


def phase_cost(phase: Phase, cost: Cost) -> types.PhaseCost:
    """Return one phase's cost as it travels."""
    return types.PhaseCost(
        phase=f"ENERGY_PHASE_{phase.name}",
        energy_j=cost.energy_j,
        seconds=cost.seconds,
        bytes=cost.bytes,
        cell_writes=cost.cell_writes,
    )


def phase_costs(costs: Mapping[Phase, Cost]) -> list[types.PhaseCost]:
    """Return costs by phase as they travel; phases that took nothing are left out."""
    nothing = Cost()
    return [phase_cost(phase, costs[phase]) for phase in Phase if costs.get(phase, nothing) != nothing]
