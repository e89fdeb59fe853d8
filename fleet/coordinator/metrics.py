"""`/metrics` of the coordinator: bounded aggregates and a few samples per node, read from the store.

Never a subject tag or a campaign id as a label; label values are closed enumerations and node ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from reram_fleet.v1.types_pb2 import DeploymentOverhead

from fleet.coordinator.core import Coordinator
from fleet.domain.execution import ExecutionState
from fleet.domain.node import ServeState
from fleet.store.database import Transaction

#: Beside the serve states that nodes report.
_LOST, _AWAITED = "lost", "awaiting_reconnect"


class StoreCollector(Collector):
    """Reads one snapshot of the store per scrape."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """Return every metric family."""
        families = self._coordinator.database.read_now(
            lambda tx: [*self._fleet(tx), *self._forgets(tx), *self._nodes(tx)]
        )
        return iter(families)

    def _fleet(self, tx: Transaction) -> Iterator[Metric]:
        yield InfoMetricFamily("fleet_build", "Version of the coordinator.", {"version": version("reram-fleet")})
        fleet = tx.fleet.get()
        yield GaugeMetricFamily("fleet_forget_generation", "Newest entry of the forget log.", fleet.generation)
        yield GaugeMetricFamily("fleet_desired_revision", "Revision that nodes are to run.", fleet.desired_revision)
        noted = tx.heads.note_of(fleet.desired_revision)
        people = tx.heads.tags_of(fleet.desired_revision) if noted is not None else ()
        yield GaugeMetricFamily("fleet_head_people", "People in the closed-form head.", len(people))
        yield GaugeMetricFamily(
            "fleet_head_unsolved",
            "1 if the closed-form head could not be solved, and nodes do without.",
            float(noted is not None and bool(noted.error)),
        )
        yield GaugeMetricFamily("fleet_log_tree_size", "Leaves of the Merkle log.", tx.tree.size())
        yield GaugeMetricFamily(
            "fleet_nodes_connected", "Nodes with an open stream.", len(self._coordinator.env.sessions.connected())
        )
        nodes = GaugeMetricFamily(
            "fleet_nodes",
            "Enrolled nodes by serve state; lost: out of contact, whatever they said last; awaiting_reconnect: not "
            "heard since the coordinator was restored.",
            labels=["state"],
        )
        connected = self._coordinator.env.sessions.connected()
        states = Counter(
            _AWAITED
            if node.awaited_since_ms is not None
            else str(node.serve_state)
            if node.node_id in connected or not node.last_contact_ms
            else _LOST
            for node in tx.nodes.list()
        )
        for state in (*ServeState, _LOST, _AWAITED):
            nodes.add_metric([state], states[state])
        yield nodes
        jobs = GaugeMetricFamily("fleet_learning_jobs", "Learning jobs by state.", labels=["state"])
        for name, count in sorted(Counter(job.state for job in tx.learning.list()).items()):
            jobs.add_metric([name], count)
        yield jobs

    def _forgets(self, tx: Transaction) -> Iterator[Metric]:
        executions = tx.forgets.counts()
        oldest_s = max(((tx.now_ms - each.created_at_ms) / 1000 for each in tx.forgets.list_open()), default=0.0)
        family = GaugeMetricFamily("fleet_forget_executions", "Executions by state.", labels=["state"])
        for state in ExecutionState:
            family.add_metric([state], executions.get(state, 0))
        yield family
        yield GaugeMetricFamily(
            "fleet_forget_oldest_unverified_age_seconds", "Age of the oldest forget that has not converged.", oldest_s
        )

    def _nodes(self, tx: Transaction) -> Iterator[Metric]:
        gauge = partial(GaugeMetricFamily, labels=["node"])
        generation = gauge("fleet_node_applied_forget_generation", "Prefix of the log that the node has suppressed.")
        contact = gauge("fleet_node_last_contact_timestamp_seconds", "Unix time of the last message.")
        energy = CounterMetricFamily(
            "fleet_node_energy_joules", "Modelled energy since the node was made.", labels=["node", "phase"]
        )
        writes = CounterMetricFamily(
            "fleet_node_reram_writes", "ReRAM cells written since the node was made.", labels=["node"]
        )
        overhead = gauge("fleet_node_deployment_overhead_joules", "Energy to make the active revision active.")
        ratio = gauge(
            "fleet_node_deployment_overhead_ratio",
            "Energy of re-programming the same change into analogue weights, over the overhead.",
        )
        listed = tx.nodes.list()
        spent = tx.nodes.costs(node.node_id for node in listed)
        for node in listed:
            generation.add_metric([node.node_id], node.generation)
            contact.add_metric([node.node_id], (node.last_contact_ms or 0) / 1000)
            costs = spent[node.node_id]
            for cost in costs:
                energy.add_metric([node.node_id, cost.phase], cost.energy_j)
            writes.add_metric([node.node_id], sum(cost.cell_writes for cost in costs))
            if node.overhead is not None:
                deployed = DeploymentOverhead.FromString(node.overhead)
                overhead.add_metric([node.node_id], deployed.energy_j)
                ratio.add_metric([node.node_id], deployed.reprogramming_ratio)
        yield from (generation, contact, energy, writes, overhead, ratio)


def registry(coordinator: Coordinator) -> CollectorRegistry:
    """Return the registry that `/metrics` serves."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
    metrics = CollectorRegistry()
    metrics.register(StoreCollector(coordinator))
    return metrics
