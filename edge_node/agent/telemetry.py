"""Costs as they travel, and serve states as they are recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import ServeTransition

from edge_node.agent.lease import ServeStatus
from hwmodel import Cost, Phase

_WIRE_PHASE = {
    Phase.PROGRAM: types.ENERGY_PHASE_PROGRAM,
    Phase.INFER: types.ENERGY_PHASE_INFER,
    Phase.TRAIN: types.ENERGY_PHASE_TRAIN,
    Phase.ERASE: types.ENERGY_PHASE_ERASE,
    Phase.VERIFY: types.ENERGY_PHASE_VERIFY,
    Phase.RADIO: types.ENERGY_PHASE_RADIO,
}
#: A node that flaps for weeks must not fill its memory.
MAX_TRANSITIONS = 1000


def phase_cost(phase: Phase, cost: Cost) -> types.PhaseCost:
    """Return one phase's cost as it travels."""
    return types.PhaseCost(
        phase=_WIRE_PHASE[phase],
        energy_j=cost.energy_j,
        seconds=cost.seconds,
        bytes=cost.bytes,
        cell_writes=cost.cell_writes,
    )


def phase_costs(costs: Mapping[Phase, Cost]) -> list[types.PhaseCost]:
    """Return costs by phase as they travel; phases that took nothing are left out."""
    return [phase_cost(phase, costs[phase]) for phase in Phase if costs.get(phase, Cost()) != Cost()]


class Transitions:
    """Serve states since the process started, oldest first (the last thousand of them)."""

    def __init__(self) -> None:
        self._rows: deque[ServeTransition] = deque(maxlen=MAX_TRANSITIONS)

    def observe(self, standing: ServeStatus, generation: int, unix_ms: int) -> bool:
        """Record the present standing; True if it, or the generation, differs from the last one recorded."""
        state, reason = standing
        if self._rows:
            last = self._rows[-1]
            if (last.serve_state, last.quarantine_reason, last.generation) == (state, reason, generation):
                return False
        self._rows.append(
            ServeTransition(at_unix_ms=unix_ms, serve_state=state, quarantine_reason=reason, generation=generation)
        )
        return True

    def rows(self) -> list[ServeTransition]:
        """Return them."""
        return list(self._rows)
