"""Prometheus metrics of a node. Label values are closed enums: never a tag, a campaign or a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.errors import NodeError


def _labels(enum: EnumTypeWrapper, prefix: str) -> dict[int, str]:
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items() if number}


_PHASES = _labels(types.EnergyPhase, "ENERGY_PHASE_")
_STATES = _labels(types.ServeState, "SERVE_STATE_")
_REASONS = _labels(types.QuarantineReason, "QUARANTINE_REASON_")


class NodeCollector(Collector):
    """Metrics of a node, read when they are scraped."""

    def __init__(self, node: Node, connected: Callable[[], bool], supernode: Callable[[], str]) -> None:
        self._node, self._connected, self._supernode = node, connected, supernode

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        status = self._node.status()
        served, refused = self._node.inference_counts()
        for name, text, field in (
            ("energy_joules", "Energy spent since the node was made, by the energy model.", "energy_j"),
            ("busy_seconds", "Time spent since the node was made, by the energy model.", "seconds"),
            ("bytes", "Bytes moved since the node was made.", "bytes"),
        ):
            family = CounterMetricFamily(f"edge_node_{name}", text, labels=["phase"])
            spent = {int(cost.phase): getattr(cost, field) for cost in status.costs}
            for phase, label in _PHASES.items():
                family.add_metric([label], spent.get(phase, 0))
            yield family
        for name, text, count in (
            ("reram_writes", "Write pulses that the ReRAM cells have taken.", status.reram_writes),
            ("inferences", "Samples identified with adapters.", served),
            ("stale_inferences_refused", "Samples answered by the backbone only.", refused),
        ):
            yield CounterMetricFamily(f"edge_node_{name}", text, count)
        overhead = status.overhead
        for name, text, value in (
            ("forget_generation", "Forget log entries that the node has suppressed.", status.generation),
            ("revision", "Active adapter revision; 0 if none.", status.revision),
            ("subject_adapters", "Subject adapters in SRAM.", len(status.subject_tags)),
            ("connected", "Whether the coordinator answers.", self._connected()),
            ("supernode_running", "Whether the Flower SuperNode runs.", self._supernode() == "running"),
            ("deployment_overhead_joules", "Energy to make the active revision active.", overhead.energy_j),
            ("deployment_overhead_seconds", "Time to make the active revision active.", overhead.seconds),
            ("deployment_overhead_bytes", "Bytes to make the active revision active.", overhead.bytes),
            (
                "deployment_overhead_ratio",
                "Energy of re-programming the same change into ReRAM, over that of the active revision.",
                overhead.reprogramming_ratio,
            ),
        ):
            yield GaugeMetricFamily(f"edge_node_{name}", text, float(value))
        for name, text, labels, present in (
            ("serve_state", "1 for the state that the node is in.", _STATES, status.serve_state),
            ("quarantine_reason", "1 for why the node is quarantined.", _REASONS, status.quarantine_reason),
        ):
            one_hot = GaugeMetricFamily(f"edge_node_{name}", text, labels=[name.rpartition("_")[2]])
            for number, label in labels.items():
                one_hot.add_metric([label], float(number == present))
            yield one_hot
        yield InfoMetricFamily(
            "edge_node_energy_model",
            "Where the joules come from.",
            {"name": status.energy_model.name, "version": status.energy_model.version},
        )


def serve_metrics(collector: NodeCollector, port: int) -> tuple[WSGIServer, str]:
    """Serve `/metrics` on 127.0.0.1; return the server and its address; `NodeError` if the port is taken."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise NodeError(f"cannot serve metrics on port {port}: {error}; choose another") from error
    return server, f"127.0.0.1:{server.server_port}"
