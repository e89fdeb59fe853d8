"""Metrics of each node, in shards; and where Prometheus finds shards and nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from reram_fleet.processes.monitoring import BadQueryError, Query
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.core import Coordinator
from fleet.coordinator.metrics.fleet import MODELLED, state_of
from fleet.domain.node import ServeState
from fleet.store.database import Transaction
from fleet.store.rows import NodeCostRow, NodeFactsRow

#: Nodes in one shard: about a megabyte.
NODES_PER_SHARD = 500
_MOST_SHARDS = 1000


@dataclass(frozen=True)
class NodeFacts:
    """Facts about the nodes of a shard, read in one snapshot."""

    now_ms: int = 0
    nodes: Sequence[NodeFactsRow] = ()
    costs: Mapping[str, Sequence[NodeCostRow]] | None = None
    put_aside: Mapping[str, int] | None = None


class NodesCollector(Collector):
    """Metrics of the nodes of one shard, of so many."""

    def __init__(self, coordinator: Coordinator, shard: int, of: int) -> None:
        self._coordinator, self._shard, self._of = coordinator, shard, of

    @classmethod
    def of(cls, coordinator: Coordinator, query: Query) -> NodesCollector:
        """Return the collector of `?shard=i&of=n`; all nodes without; `BadQueryError` if there is no such shard."""
        try:
            shard, of = (int(query.get(name, [default])[0]) for name, default in (("shard", "0"), ("of", "1")))
        except ValueError as error:
            raise BadQueryError(f"shard and of must be whole numbers: {error}") from error
        if not (1 <= of <= _MOST_SHARDS and 0 <= shard < of):
            raise BadQueryError(f"there is no shard {shard} of {of}: 0 <= shard < of <= {_MOST_SHARDS}")
        return cls(coordinator, shard, of)

    def describe(self) -> Iterator[Metric]:
        """Return every family, of no nodes."""
        return self._families(NodeFacts())

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        return self._families(self._coordinator.database.read_now(self._read))

    def _read(self, tx: Transaction) -> NodeFacts:
        # By their order: so no shard reads the others' nodes.
        first, end = (number * tx.nodes.count() // self._of for number in (self._shard, self._shard + 1))
        nodes = tx.nodes.facts(first, end - first)
        node_ids = [node.node_id for node in nodes]
        return NodeFacts(tx.now_ms, nodes, tx.nodes.costs(node_ids), tx.nodes.quarantined_counts(node_ids))

    def _families(self, facts: NodeFacts) -> Iterator[Metric]:
        sessions = self._coordinator.env.sessions
        connected = sessions.connected()
        state = GaugeMetricFamily("fleet_node_state", "1 for the state that the node is in.", labels=["node", "state"])
        for node in facts.nodes:
            reported = sessions.of(node.node_id).serves[0] if node.node_id in connected else None
            state.add_metric([node.node_id, state_of(node, reported)], 1)
        yield state
        yield _gauge("connected", "Whether the node has an open stream.", facts, lambda n: n.node_id in connected)
        yield _gauge(
            "serving",
            "Whether the node is connected, and says that it serves its adapters.",
            facts,
            lambda n: n.node_id in connected and sessions.of(n.node_id).serves[0] is ServeState.SERVING,
        )
        yield _gauge("held", "Whether the node is held: an operator must decide.", facts, lambda n: bool(n.held_reason))
        generation = "Prefix of the forget log that the node has suppressed."
        yield _gauge("applied_forget_generation", generation, facts, lambda n: n.generation)
        yield _gauge("revision", "Revision that the node runs; 0: none.", facts, lambda n: n.revision)
        yield _gauge("subject_adapters", "People whom the node knows.", facts, lambda n: n.subject_adapters)
        contact = "Unix time of the last message; 0: none yet."
        yield _gauge("last_contact_timestamp_seconds", contact, facts, lambda n: (n.last_contact_ms or 0) / 1000)
        yield _gauge(
            "lease_remaining_seconds",
            "Time until the node stops serving adapters without another lease.",
            facts,
            lambda n: max(0, (n.lease_until_ms or 0) - facts.now_ms) / 1000,
        )
        yield from self._costs(facts)
        yield from _deployment(facts)
        endurance = GaugeMetricFamily(
            "fleet_node_endurance_left_ratio", "Share of its cells' endurance that the chip has left.", labels=["node"]
        )
        for node in facts.nodes:
            if node.chip:
                endurance.add_metric([node.node_id], types.ChipFigures.FromString(node.chip).endurance_left)
        yield endurance

    @staticmethod
    def _costs(facts: NodeFacts) -> Iterator[Metric]:
        energy = CounterMetricFamily(
            "fleet_node_energy_joules",
            "Energy since the node was made, by the energy model.",
            labels=["node", "phase", "source"],
        )
        writes = CounterMetricFamily(
            "fleet_node_reram_cell_writes", "ReRAM cells written since the node was made.", labels=["node"]
        )
        aside = CounterMetricFamily(
            "fleet_node_refused_reports", "Reports of the node that were not acted upon.", labels=["node"]
        )
        inferences = CounterMetricFamily(
            "fleet_node_inferences", "Samples that the node has identified with adapters.", labels=["node"]
        )
        costs, put_aside = facts.costs or {}, facts.put_aside or {}
        for node in facts.nodes:
            spent = costs.get(node.node_id, ())
            for cost in spent:
                energy.add_metric([node.node_id, cost.phase, MODELLED], cost.energy_j)
            writes.add_metric([node.node_id], sum(cost.cell_writes for cost in spent))
            aside.add_metric([node.node_id], put_aside.get(node.node_id, 0))
            inferences.add_metric([node.node_id], node.inferences)
        yield from (energy, writes, aside, inferences)


def _deployment(facts: NodeFacts) -> Iterator[Metric]:
    gauges = {
        name: GaugeMetricFamily(f"fleet_node_deployment_overhead_{name}", text, labels=["node"])
        for name, text in (
            ("joules", "Energy to make the active revision active, with the radio."),
            ("seconds", "Time to make the active revision active."),
            ("bytes", "Bytes received to make the active revision active."),
            ("cell_writes", "ReRAM cells written to make the active revision active."),
        )
    }
    ratio = GaugeMetricFamily(
        "fleet_node_deployment_overhead_ratio",
        "Energy of re-programming the same change into analogue weights, over the overhead; chip: both without radio.",
        labels=["node", "scope"],
    )
    for node in facts.nodes:
        if node.overhead:
            one = types.DeploymentOverhead.FromString(node.overhead)
            for name, value in (("joules", one.energy_j), ("seconds", one.seconds), ("bytes", one.bytes)):
                gauges[name].add_metric([node.node_id], value)
            gauges["cell_writes"].add_metric([node.node_id], one.cell_writes)
            ratio.add_metric([node.node_id, "chip"], one.reprogramming_ratio)
            ratio.add_metric([node.node_id, "with_radio"], one.reprogramming_ratio_with_radio)
    yield from (*gauges.values(), ratio)


def _gauge(name: str, text: str, facts: NodeFacts, value: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"fleet_node_{name}", text, labels=["node"])
    for node in facts.nodes:
        family.add_metric([node.node_id], float(value(node)))
    return family


def targets(coordinator: Coordinator, host: str) -> list[dict[str, Any]]:
    """Return what Prometheus scrapes (HTTP service discovery): the shards at this host, and the nodes that said where.

    `instance` tells the shards of one host apart; a node's address is one at the host that its stream comes from.
    """
    nodes = coordinator.database.read_now(lambda tx: tx.nodes.count())
    of = max(1, -(-nodes // NODES_PER_SHARD))
    shards = [
        {
            "targets": [host],
            "labels": {
                "__metrics_path__": "/metrics/nodes",
                "__param_shard": str(shard),
                "__param_of": str(of),
                "instance": f"{host}/nodes/{shard}",
                "role": "nodes",
            },
        }
        for shard in range(of)
    ]
    sessions = coordinator.env.sessions
    devices = [
        {"targets": [address], "labels": {"instance": node_id, "role": "node"}}
        for node_id in sorted(sessions.connected())
        if (address := sessions.of(node_id).metrics_address)
    ]
    return [*shards, *devices]
