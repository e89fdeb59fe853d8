"""`/metrics` of a node. Label values are closed enums: never a tag, a campaign or a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.errors import NodeError


def _names(enum: type, prefix: str) -> dict[int, str]:
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items()}  # type: ignore[attr-defined]


_PHASES = _names(types.EnergyPhase, "ENERGY_PHASE_")
_STATES = _names(types.ServeState, "SERVE_STATE_")
_REASONS = _names(types.QuarantineReason, "QUARANTINE_REASON_")
_UNSPECIFIED = 0


class NodeCollector(Collector):
    """Reads the node when it is scraped."""

    def __init__(self, node: Node, connected: Callable[[], bool], supernode: Callable[[], str]) -> None:
        self._node, self._connected, self._supernode = node, connected, supernode

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        status = self._node.status()
        served, refused = self._node.inference_counts()
        families = [
            ("energy_joules", "Energy spent since the node was made, by the energy model.", "energy_j"),
            ("busy_seconds", "Time spent since the node was made, by the energy model.", "seconds"),
            ("bytes", "Bytes moved since the node was made.", "bytes"),
        ]
        for name, text, field in families:
            family = CounterMetricFamily(f"edge_node_{name}", text, labels=["phase"])
            spent = {cost.phase: getattr(cost, field) for cost in status.costs}
            for phase, label in _PHASES.items():
                if phase != _UNSPECIFIED:
                    family.add_metric([label], spent.get(phase, 0))
            yield family
        yield CounterMetricFamily(
            "edge_node_reram_writes", "Write pulses that the ReRAM cells have taken.", status.reram_writes
        )
        yield CounterMetricFamily("edge_node_inferences", "Samples identified with adapters.", served)
        yield CounterMetricFamily(
            "edge_node_stale_inferences_refused", "Samples answered by the backbone only.", refused
        )
        yield GaugeMetricFamily(
            "edge_node_forget_generation", "Forget log entries that the node has suppressed.", status.generation
        )
        yield GaugeMetricFamily("edge_node_revision", "Active adapter revision; 0 if none.", status.revision)
        yield GaugeMetricFamily("edge_node_subject_adapters", "Subject adapters in SRAM.", len(status.subject_tags))
        yield _one_hot("serve_state", "1 for the state that the node is in.", _STATES, status.serve_state)
        yield _one_hot("quarantine_reason", "1 for why the node is quarantined.", _REASONS, status.quarantine_reason)
        yield GaugeMetricFamily("edge_node_connected", "Whether the coordinator answers.", float(self._connected()))
        yield GaugeMetricFamily(
            "edge_node_supernode_running", "Whether the Flower SuperNode runs.", float(self._supernode() == "running")
        )
        overhead = status.overhead
        for name, text, value in (
            ("joules", "Energy to make the active revision active.", overhead.energy_j),
            ("seconds", "Time to make the active revision active.", overhead.seconds),
            ("bytes", "Bytes to make the active revision active.", overhead.bytes),
            (
                "ratio",
                "Energy of re-programming the same change into ReRAM, over that of the active revision.",
                overhead.reprogramming_ratio,
            ),
        ):
            yield GaugeMetricFamily(f"edge_node_deployment_overhead_{name}", text, value)
        yield InfoMetricFamily(
            "edge_node_energy_model",
            "Where the joules come from.",
            {"name": status.energy_model.name, "version": status.energy_model.version},
        )


def _one_hot(name: str, text: str, labels: dict[int, str], present: int) -> Metric:
    family = GaugeMetricFamily(f"edge_node_{name}", text, labels=["state" if "state" in name else "reason"])
    for number, label in labels.items():
        if number != _UNSPECIFIED:
            family.add_metric([label], float(number == present))
    return family


def serve_metrics(collector: NodeCollector, port: int) -> tuple[WSGIServer, str]:
    """Serve `/metrics` on 127.0.0.1; return the server and its address.

    Raises
    ------
    NodeError
        If the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise NodeError(f"cannot serve metrics on port {port}: {error}; choose another") from error
    return server, f"127.0.0.1:{server.server_port}"
