"""Drawing for the device's application: what may be drawn now, and what may still be told afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reram_fleet.v1 import engine_pb2 as wire
from reram_fleet.v1.types_pb2 import SERVE_STATE_SERVING, SubjectAdapter

from edge_node.agent.lease import ServeStatus
from edge_node.agent.meter import NODE_INDEX, Meter
from edge_node.agent.node_engine import NodeEngine
from edge_node.agent.telemetry import phase_cost
from edge_node.storage.journal import Journal
from hwmodel import Cost, Phase

if TYPE_CHECKING:
    from edge_node.generation.image_generator import Drawn, ImageGenerator


class Drawing:
    """Answers to `Generate`.

    Parameters
    ----------
    lock
        The node's; not held while an image is drawn.
    standing
        Returns whether the node serves now, and why not; called under the lock.
    """

    def __init__(
        self,
        lock: threading.RLock,
        *,
        image_generator: ImageGenerator,
        journal: Journal,
        engine: NodeEngine,
        meter: Meter,
        standing: Callable[[], ServeStatus],
    ) -> None:
        self._lock, self._image_generator, self._journal = lock, image_generator, journal
        self._engine, self._meter, self._standing = engine, meter, standing

    def subject(self, subject_tag: str, count: int, seed: int) -> wire.GenerateResponse:
        """Draw a private class, or say why not.

        What was drawn is thrown away if the class is forgotten, or the lease ends, before it can be told.
        """
        with self._lock:
            refused, adapter = self._look_up(subject_tag, count)
        if adapter is None:
            return refused
        drawn = self._image_generator.draw_subject(adapter, count, seed)
        with self._lock:
            self._charge(drawn.costs)
            refused, adapter = self._look_up(subject_tag, count)
            return refused if adapter is None else self._told(drawn, count)

    def of_class(self, name: str, count: int, seed: int) -> wire.GenerateResponse:
        """Draw a class by the frozen backbone alone, which holds nothing personal: also in quarantine."""
        drawn = self._image_generator.draw_class(name, count, seed)
        with self._lock:
            self._charge(drawn.costs)
            return self._told(drawn, count)

    def _look_up(self, subject_tag: str, count: int) -> tuple[wire.GenerateResponse, SubjectAdapter | None]:
        state, reason = self._standing()
        response = wire.GenerateResponse(generation=self._journal.position().generation)
        held = {adapter.subject_tag: adapter for adapter in self._engine.active_subjects(NODE_INDEX)}
        if subject_tag in self._journal.tombstones():
            response.refusal = wire.GENERATE_REFUSAL_FORGOTTEN_TAG
        elif state != SERVE_STATE_SERVING:
            response.refusal = wire.GENERATE_REFUSAL_QUARANTINED
            response.quarantine_reason = reason
            self._meter.stale_refused += count
        elif subject_tag not in held:
            response.refusal = wire.GENERATE_REFUSAL_UNKNOWN_TAG
        return response, None if response.refusal else held[subject_tag]

    def _charge(self, costs: Mapping[Phase, Cost]) -> None:
        for phase, cost in costs.items():
            self._engine.ledger.charge(phase, cost, NODE_INDEX)

    def _told(self, drawn: Drawn, count: int) -> wire.GenerateResponse:
        self._meter.inferences += count
        _, rows, columns = drawn.levels.shape
        return wire.GenerateResponse(
            generation=self._journal.position().generation,
            levels=drawn.levels.tobytes(),
            rows=rows,
            columns=columns,
            infer_cost=phase_cost(Phase.INFER, drawn.costs[Phase.INFER]),
        )
