"""Checks of what a node says that it has spent, before any of it is stored."""

from __future__ import annotations

from collections.abc import Sequence

from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.effects import QuarantineError
from fleet.domain.cost_bounds import decreased, out_of_range

_COST_FIELDS = ("energy_j", "seconds", "bytes", "cell_writes")
_OVERHEAD_FIELDS = (
    *_COST_FIELDS,
    "reprogramming_ratio",
    "reprogramming_energy_j",
    "reprogramming_seconds",
    "reprogramming_cell_writes",
    "radio_energy_j",
    "reprogramming_ratio_with_radio",
)
#: Of an energy model; the columns have as many.
MAX_NAME = 64


def check_telemetry(telemetry: wire.Telemetry, before: wire.Telemetry) -> None:
    """Refuse telemetry that cannot be true.

    Parameters
    ----------
    before
        What the node reported last on the same stream.

    Raises
    ------
    QuarantineError
        If a number is out of range, or a cumulative one has become less; or a text is too long.
    """
    numbers = _numbers(telemetry.costs) | {"subject_adapters": telemetry.subject_adapters}
    _refuse("telemetry", out_of_range({**numbers, **_counters(telemetry)}))
    phases = [cost.phase for cost in telemetry.costs]
    if len(set(phases)) != len(phases):
        _refuse("telemetry", "a phase is listed twice")
    if max(len(telemetry.energy_model.name), len(telemetry.energy_model.version)) > MAX_NAME:
        _refuse("telemetry", f"name or version of the energy model has more than {MAX_NAME} characters")
    known = _numbers(before.costs) | _counters(before)
    _refuse("telemetry", decreased(known, {**_numbers(telemetry.costs), **_counters(telemetry)}))


def check_overhead(overhead: types.DeploymentOverhead) -> None:
    """Refuse a deployment overhead that cannot be true; raises `QuarantineError`."""
    _refuse("deployment overhead", out_of_range({n: getattr(overhead, n) for n in _OVERHEAD_FIELDS}))


def _numbers(costs: Sequence[types.PhaseCost]) -> dict[str, float]:
    return {f"phase {cost.phase}, {name}": getattr(cost, name) for cost in costs for name in _COST_FIELDS}


def _counters(telemetry: wire.Telemetry) -> dict[str, float]:
    return {"inferences": telemetry.inferences, "stale_inferences_refused": telemetry.stale_inferences_refused}


def _refuse(what: str, reason: str) -> None:
    if reason:
        raise QuarantineError(f"{what}: {reason}")
