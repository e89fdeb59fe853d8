"""Monitoring of a coordinator: what Prometheus scrapes, where it finds it, and whether the process is well.

Label values are closed enumerations and node ids: never a person, a tag or a forget. What `/metrics` says is bounded,
however large the fleet is; what it says of each node is at `/metrics/nodes`, in shards. What is counted lives in the
store, so it goes on after a restart; calls and the process itself are counted since the process began.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry
from reram_fleet.processes.monitoring import (
    Page,
    check_page,
    collected_page,
    json_page,
    metrics_page,
    process_collectors,
)

from fleet.coordinator.core import Coordinator
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.metrics.fleet import FleetCollector
from fleet.coordinator.metrics.health import Health
from fleet.coordinator.metrics.nodes import NodesCollector, targets


def registry(coordinator: Coordinator, calls: CallMeter) -> CollectorRegistry:
    """Return what `/metrics` serves."""
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(FleetCollector(coordinator))
    metrics.register(calls)
    process_collectors(metrics)
    return metrics


def pages(coordinator: Coordinator, calls: CallMeter, health: Health) -> Mapping[str, Page]:
    """Return the pages of a coordinator, by path."""
    return {
        "/metrics": metrics_page(registry(coordinator, calls)),
        "/metrics/nodes": collected_page(lambda query: NodesCollector.of(coordinator, query)),
        "/sd": json_page(lambda host: targets(coordinator, host)),
        "/healthz": check_page(health.sick),
        "/readyz": check_page(health.unready),
    }
