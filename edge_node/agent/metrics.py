"""Monitoring of a node: its Prometheus metrics, and whether it is well and ready.

Label values are closed enumerations: never a tag, a forget or a name. Counters go on after a restart, since the journal
has them; only the process itself is counted since it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIServer

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from reram_fleet.processes.monitoring import check_page, metrics_page, process_collectors, serve_monitoring
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse

from edge_node.agent.forgetting import SOFTWARE_VERSION
from edge_node.agent.node import Node
from edge_node.errors import NodeError

#: Energy is never measured: it is what a model says of what was done (Kepler's word for its own estimates).
MODELLED = "modelled"
#: Nothing that a node does under its lock takes as long.
LOCK_PATIENCE_S = 5.0


def _labels(enum: EnumTypeWrapper, prefix: str) -> dict[int, str]:
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items() if number}


_PHASES = _labels(types.EnergyPhase, "ENERGY_PHASE_")
_STATES = _labels(types.ServeState, "SERVE_STATE_")
_REASONS = _labels(types.QuarantineReason, "QUARANTINE_REASON_")
_RATIOS = _labels(types.PaperRatio, "PAPER_RATIO_")
_BOUNDS = ("low", "value", "high")


@dataclass(frozen=True)
class NodeFacts:
    """Facts about a node, read at once."""

    status: GetStatusResponse = field(default_factory=GetStatusResponse)
    inferences: int = 0
    stale_refused: int = 0
    lease_remaining_s: float = 0.0
    erasers: int = 0
    chip: types.ChipFigures = field(default_factory=types.ChipFigures)

    @classmethod
    def read(cls, node: Node) -> NodeFacts:
        """Read them; `NodeError` if the node's lock cannot be had."""
        with _locked(node):
            inferences, stale_refused = node.inference_counts()
            return cls(
                status=node.status(),
                inferences=inferences,
                stale_refused=stale_refused,
                lease_remaining_s=node.lease_remaining_s,
                erasers=len(node.context.engine.active_erasers(node.context.node_index)),
                chip=node.context.engine.chip_figures(node.context.node_index),
            )


class NodeCollector(Collector):
    """Metrics of a node, read when they are scraped."""

    def __init__(self, node: Node, connected: Callable[[], bool], supernode: Callable[[], str]) -> None:
        self._node, self._connected, self._supernode = node, connected, supernode

    def describe(self) -> Iterator[Metric]:
        """Return every family, of a node that has done nothing."""
        return self._families(NodeFacts())

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        return self._families(NodeFacts.read(self._node))

    def _families(self, facts: NodeFacts) -> Iterator[Metric]:
        status, gauge = facts.status, GaugeMetricFamily
        yield InfoMetricFamily("edge_node_build", "Version of the node's software.", {"version": SOFTWARE_VERSION})
        yield from _costs(status)
        for name, text, count in (
            ("inferences", "Samples identified with adapters, and images generated.", facts.inferences),
            (
                "stale_inferences_refused",
                "Samples answered without adapters, and images not generated, in quarantine.",
                facts.stale_refused,
            ),
        ):
            yield CounterMetricFamily(f"edge_node_{name}", text, count)
        yield gauge(
            "edge_node_forget_generation", "Forget log entries that the node has suppressed.", status.generation
        )
        yield gauge("edge_node_revision", "Active adapter revision; 0 if none.", status.revision)
        yield gauge("edge_node_subject_adapters", "Subject adapters in SRAM.", len(status.subject_tags))
        yield gauge("edge_node_erasers", "Erasers in SRAM: concepts that the chip is kept from drawing.", facts.erasers)
        yield gauge("edge_node_connected", "Whether the coordinator answers.", float(self._connected()))
        left = "Time until adapters are detached, unless the lease is renewed; 0 without a lease."
        yield gauge("edge_node_lease_remaining_seconds", left, facts.lease_remaining_s)
        runs = self._supernode() == "running"
        yield gauge("edge_node_supernode_running", "Whether the Flower SuperNode runs.", float(runs))
        yield _one_hot("serve_state", "1 for the state that the node is in.", "state", _STATES, status.serve_state)
        yield _one_hot(
            "quarantine_reason",
            "1 for why the node is quarantined; 0 throughout if it serves.",
            "reason",
            _REASONS,
            status.quarantine_reason,
        )
        yield from _deployment(status)
        yield from _chip(facts.chip)


def _costs(status: GetStatusResponse) -> Iterator[Metric]:
    for name, text, column in (
        ("energy_joules", "Energy spent since the node was made, by the energy model.", "energy_j"),
        ("busy_seconds", "Time spent since the node was made, by the energy model.", "seconds"),
        ("moved_bytes", "Bytes moved since the node was made.", "bytes"),
        ("reram_cell_writes", "Write pulses that ReRAM cells have taken since the node was made.", "cell_writes"),
    ):
        modelled = column == "energy_j"
        family = CounterMetricFamily(f"edge_node_{name}", text, labels=["phase", "source"] if modelled else ["phase"])
        spent = {int(cost.phase): getattr(cost, column) for cost in status.costs}
        for phase, label in _PHASES.items():
            family.add_metric([label, MODELLED] if modelled else [label], spent.get(phase, 0))
        yield family
    model = {"name": status.energy_model.name, "version": status.energy_model.version}
    yield InfoMetricFamily("edge_node_energy_model", "Model that the joules and seconds come from.", model)


def _deployment(status: GetStatusResponse) -> Iterator[Metric]:
    """Return what it took to make the active revision active; without samples while there is none."""
    made, overhead = bool(status.revision), status.overhead
    what = "to make the active revision active"
    instead = "re-programming the same change into analogue weights would take"
    for name, text, value in (
        ("overhead_joules", f"Energy {what}, with the radio.", overhead.energy_j),
        ("overhead_radio_joules", f"Energy of the radio {what}.", overhead.radio_energy_j),
        ("overhead_seconds", f"Time {what}.", overhead.seconds),
        ("overhead_bytes", f"Bytes received {what}.", overhead.bytes),
        ("overhead_cell_writes", f"Write pulses to ReRAM cells {what}.", overhead.cell_writes),
        ("reprogramming_joules", f"Energy that {instead}, with the radio.", overhead.reprogramming_energy_j),
        ("reprogramming_seconds", f"Time that {instead}.", overhead.reprogramming_seconds),
        ("reprogramming_cell_writes", f"Write pulses that {instead}.", overhead.reprogramming_cell_writes),
    ):
        family = GaugeMetricFamily(f"edge_node_deployment_{name}", text, labels=[])
        if made:
            family.add_metric([], value)
        yield family
    ratio = GaugeMetricFamily(
        "edge_node_deployment_overhead_ratio",
        "Energy of re-programming the same change into analogue weights, over the overhead; chip: both without radio.",
        labels=["scope"],
    )
    if made:
        ratio.add_metric(["chip"], overhead.reprogramming_ratio)
        ratio.add_metric(["with_radio"], overhead.reprogramming_ratio_with_radio)
    yield ratio


def _chip(chip: types.ChipFigures) -> Iterator[Metric]:
    left = "Share of the endurance of the most worn layer's cells that is not used up."
    yield GaugeMetricFamily("edge_node_endurance_left_ratio", left, chip.endurance_left)
    family = GaugeMetricFamily(
        "edge_node_paper_ratio",
        "The paper's three ratios for the node's own network; low and high: 5th and 95th percentile over the ranges of "
        "the energy model's constants.",
        labels=["ratio", "bound"],
    )
    for band in chip.ratios:
        for bound in _BOUNDS:
            family.add_metric([_RATIOS[band.ratio], bound], getattr(band, bound))
    yield family


def _one_hot(name: str, text: str, label: str, values: Mapping[int, str], present: int) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"edge_node_{name}", text, labels=[label])
    for number, value in values.items():
        family.add_metric([value], float(number == present))
    return family


class NodeHealth:
    """Answers of `/healthz` and `/readyz`: what is wrong, or "" if nothing is."""

    def __init__(self, node: Node, connected: Callable[[], bool]) -> None:
        self._node, self._connected = node, connected

    def sick(self) -> str:
        """Return why the node should be started anew."""
        try:
            with _locked(self._node):
                # From the file: other figures are kept in memory.
                self._node.context.journal.inference_counts()
        except NodeError as error:
            return str(error)
        return ""

    def unready(self) -> str:
        """Return why its adapters take no part in its answers."""
        if sick := self.sick():
            return sick
        if not self._connected():
            return "it is not connected: the coordinator does not answer"
        state, reason = self._node.serve_status()
        return "" if state == types.SERVE_STATE_SERVING else f"it is {_STATES[state]}: {_REASONS[reason]}"


def serve_metrics(collector: NodeCollector, health: NodeHealth, port: int) -> tuple[WSGIServer, int]:
    """Serve `/metrics`, `/healthz` and `/readyz` on 127.0.0.1; return the server and its port.

    `NodeError` if the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    process_collectors(registry)
    pages = {
        "/metrics": metrics_page(registry),
        "/healthz": check_page(health.sick),
        "/readyz": check_page(health.unready),
    }
    try:
        return serve_monitoring("127.0.0.1", port, pages)
    except OSError as error:
        raise NodeError(
            f"cannot serve metrics on port {port}: {error.strerror or error}; "
            "--metrics-port names another, 0 a free one"
        ) from error


@contextmanager
def _locked(node: Node) -> Iterator[None]:
    if not node.context.lock.acquire(timeout=LOCK_PATIENCE_S):
        raise NodeError(f"the node's lock has been held for {LOCK_PATIENCE_S:g} s: something stands still")
    try:
        yield
    finally:
        node.context.lock.release()
