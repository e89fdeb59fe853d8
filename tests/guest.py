"""Node of a test among the processes of a local fleet: a real one in memory, on a real stream."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
from reram_fleet.processes.channel import open_channel
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.context import SystemClock
from edge_node.testing import MemoryEngine
from fleet.local.fleet import LocalFleet
from tests.device import Device
from tests.integration.coordinator.coordinator_process import NodeStream

#: Of the task that the fleet serves.
FEATURES = 1024


class Guest(Device):
    """A real node of this process, on a real stream to the fleet, that may lie or go away."""

    def __init__(self, fleet: LocalFleet, node_id: str) -> None:
        self._fleet = fleet
        super().__init__(node_id, clock=SystemClock(), make_engine=lambda saved: MemoryEngine(saved, features=FEATURES))
        with fleet.client() as client:
            self.join(client.enroll_node(self.identity))
        self.connect()

    def connect(self) -> None:
        """Open a stream, and give signs of life on it."""
        self._gone = threading.Event()
        joined = self.enrollment
        channel = open_channel(joined.node_service_address, joined.coordinator_ca_pem.encode())
        self._stream = NodeStream(channel, self)
        self._stream.wait_heard("lease")
        threading.Thread(target=self._beat, args=(self._stream, self._gone), daemon=True).start()

    @staticmethod
    def _beat(stream: NodeStream, gone: threading.Event) -> None:
        while not gone.wait(0.5):
            stream.heartbeat()

    def ticket(self, tag: str) -> types.Envelope:
        """Return the ticket of the fleet's own registry."""
        return self._fleet.registry.ticket(tag, self._fleet.served().fleet_id, [self.node_id])

    @staticmethod
    def made_up(seed: int) -> npt.NDArray[np.int32]:
        """Return codes [3, FEATURES] of a made-up person."""
        return np.random.default_rng(seed).integers(-3000, 3000, (3, FEATURES)).astype(np.int32)

    def go_away(self) -> None:
        """Close the stream."""
        self._gone.set()
        self._stream.close()
