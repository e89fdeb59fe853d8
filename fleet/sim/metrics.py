"""Metrics of a run, for Prometheus: of one that is simulated now, and as the text that it leaves.

They have names of their own: what is simulated must neither raise an alert of a fleet nor be added to its energy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet.domain.node import EnergyPhase

if TYPE_CHECKING:
    from fleet.sim.simulation import Simulation

_LABELS = ["scenario", "seed"]
#: Energy is never measured: it is what a model says of what was done.
_MODELLED = "modelled"
_STATES = ("connected", "serving", "quarantined", "held", "behind", "serving_behind")
_GAUGES = {
    "people": ("fleet_sim_people", "People who are enrolled."),
    "forgets_open": ("fleet_sim_forgets_open", "Forgets that have not converged."),
    "wear_max": ("fleet_sim_wear_ratio_max", "Share of its endurance that the most worn chip has used."),
    "reprogramming_j": (
        "fleet_sim_reprogramming_joules",
        "Energy that re-programming the same changes into analogue weights would take the chips.",
    ),
    "overhead_j": ("fleet_sim_deployment_overhead_joules", "Energy that changes took the chips, without the radio."),
}
_COUNTERS = {
    "messages": ("fleet_sim_messages", "Messages between coordinator and nodes."),
    "bytes": ("fleet_sim_moved_bytes", "Bytes between coordinator and nodes."),
    "heartbeats": ("fleet_sim_heartbeats", "Heartbeats of all nodes."),
    "cell_writes": ("fleet_sim_reram_cell_writes", "ReRAM cells written on all nodes."),
}
_ANSWERS = {
    "enrolled_accuracy": ("enrolled", "right"),
    "accepted_strangers": ("strangers", "accepted"),
    "accepted_forgotten": ("forgotten", "accepted"),
}


@dataclass(frozen=True, slots=True)
class RunLabels:
    """Labels of every series of a run."""

    scenario: str
    seed: int

    @property
    def values(self) -> list[str]:
        """Values in the order of the labels."""
        return [self.scenario, str(self.seed)]


class RunCollector(Collector):
    """Collector of the newest rows of a run's tables."""

    def __init__(self) -> None:
        self._shown: tuple[RunLabels, Simulation] | None = None

    def show(self, labels: RunLabels, simulation: Simulation) -> None:
        """Tell of this simulation from now on."""
        self._shown = labels, simulation

    def describe(self) -> Iterator[Metric]:
        """Return every family, of no run."""
        return _families([], 0.0, {})

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        if self._shown is None:
            return self.describe()
        labels, simulation = self._shown
        return _families(labels.values, simulation.now_s, simulation.tables)


def registry_of(collector: RunCollector) -> CollectorRegistry:
    """Return what `/metrics` of a run serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def metrics_text(labels: RunLabels, simulation: Simulation) -> bytes:
    """Return the metrics of a run as Prometheus reads them."""
    collector = RunCollector()
    collector.show(labels, simulation)
    return generate_latest(registry_of(collector))


def _families(run: list[str], now_s: float, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Metric]:
    """Yield the families; without a run they have no samples."""
    state = tables["state"][-1] if tables.get("state") else {}
    answers = tables["answers"][-1] if tables.get("answers") else {}

    def filled(
        family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[tuple[str, ...], float | None]
    ) -> Metric:
        for labels, value in values.items():
            if run and value is not None:
                family.add_metric([*run, *labels], value)
        return family

    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=[*_LABELS, *labels])

    yield filled(gauge("fleet_sim_virtual_time_seconds", "Virtual time since the scenario's begin."), {(): now_s})
    yield filled(gauge("fleet_sim_nodes", "Nodes that are in the fleet."), {(): state.get("nodes")})
    yield filled(
        gauge("fleet_sim_nodes_by_state", "Nodes by what is said of them; a node may count in several.", "state"),
        {(name,): state.get(name) for name in _STATES},
    )
    for column, (name, text) in _GAUGES.items():
        yield filled(gauge(name, text), {(): state.get(column)})
    for column, (name, text) in _COUNTERS.items():
        yield filled(CounterMetricFamily(name, text, labels=_LABELS), {(): state.get(column)})
    joules = CounterMetricFamily(
        "fleet_sim_energy_joules",
        "Energy of all nodes since they were made, by the energy model.",
        labels=[*_LABELS, "phase", "source"],
    )
    yield filled(joules, {(phase, _MODELLED): state.get(f"joules_{phase}") for phase in EnergyPhase})
    yield filled(
        gauge("fleet_sim_answers_ratio", "Share of samples, at the last look, by who is asked for.", "asked", "answer"),
        {labels: answers.get(column) for column, labels in _ANSWERS.items()},
    )
    forgets = list(tables.get("forgets", ()))
    yield filled(
        gauge("fleet_sim_forgets", "Forgets by state.", "state"),
        {(state,): sum(row.get("state") == state for row in forgets) for state in _states(forgets)},
    )


def _states(forgets: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({str(row["state"]) for row in forgets if row.get("state") is not None})
