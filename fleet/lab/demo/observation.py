"""Observation of the demo from outside: Prometheus, and Flower's own list of runs."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING

from fleet.local.errors import LocalFleetError
from fleet.local.fleet import LocalFleet

if TYPE_CHECKING:
    from fleet.learning.flower_command import RunInfo

#: The metric that a forget has to move, on each side.
COORDINATOR_GENERATION = "fleet_forget_generation"
NODE_GENERATION = "edge_node_forget_generation"

_SCRAPE_TIMEOUT_S = 10.0
_RUNS_END_WITHIN_S = 30.0


def generations(fleet: LocalFleet) -> dict[str, float]:
    """Return the forget generation that each `/metrics` tells; NaN where it is missing.

    Raises
    ------
    LocalFleetError
        If nobody answers, or the answer is not Prometheus text.
    """
    addresses = {"coordinator": (fleet.served().metrics_address, COORDINATOR_GENERATION)}
    for node in fleet.nodes:
        running = node.running()
        if running is None:
            raise LocalFleetError(f"{node.node_id} does not run, so it has no metrics")
        addresses[node.node_id] = (running.metrics_address, NODE_GENERATION)
    return {name: _scrape(address, metric) for name, (address, metric) in addresses.items()}


def _scrape(address: str, metric: str) -> float:
    from prometheus_client.parser import text_string_to_metric_families

    # Without proxies: this is the loopback interface.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/metrics", timeout=_SCRAPE_TIMEOUT_S) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
    except (OSError, ValueError) as error:
        raise LocalFleetError(f"cannot read the metrics at {address}: {error}") from error
    samples = [sample for family in families for sample in family.samples if sample.name == metric]
    return float(samples[0].value) if samples else float("nan")


def flower_runs(fleet: LocalFleet) -> tuple[RunInfo, ...]:
    """Return what `flwr ls` lists, oldest first, asked exactly as a user would.

    A job is over before its Flower run is: the ServerApp reports and then still has to end. So this asks
    again, for a while, as long as a run is listed as unfinished.
    """
    from fleet.learning.flower_command import FlowerCommand
    from fleet.learning.superlink import CONNECTION

    command = FlowerCommand(fleet.layout.coordinator / "flower" / "home", CONNECTION)
    deadline_s = time.monotonic() + _RUNS_END_WITHIN_S
    while True:
        runs = command.runs()
        if all(run.finished for run in runs) or time.monotonic() > deadline_s:
            return tuple(reversed(runs))
