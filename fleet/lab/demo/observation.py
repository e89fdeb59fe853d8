"""What outsiders see of the demo: Prometheus and Flower's own list of runs."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping

from fleet.lab.demo.evidence import FlowerRun
from fleet.local.errors import LocalFleetError
from fleet.local.fleet import LocalFleet

#: The metric that a forget has to move, on each side.
COORDINATOR_GENERATION = "fleet_forget_generation"
NODE_GENERATION = "edge_node_forget_generation"

_SCRAPE_TIMEOUT_S = 10.0
_RUNS_END_WITHIN_S = 30.0


def scrape(address: str) -> dict[str, float]:
    """Read `/metrics`; returns name (with labels, if any) to value.

    Raises
    ------
    LocalFleetError
        If nobody answers, or the answer is not Prometheus text.
    """
    from prometheus_client.parser import text_string_to_metric_families

    # Without proxies: this is the loopback interface.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/metrics", timeout=_SCRAPE_TIMEOUT_S) as response:
            text = response.read().decode()
        return {
            sample.name + (str(sorted(sample.labels.items())) if sample.labels else ""): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except (OSError, ValueError) as error:
        raise LocalFleetError(f"cannot read the metrics at {address}: {error}") from error


def generations(fleet: LocalFleet) -> dict[str, float]:
    """Return the forget generation that each `/metrics` tells; NaN where it is missing."""
    missing = float("nan")
    found = {"coordinator": scrape(fleet.served().metrics_address).get(COORDINATOR_GENERATION, missing)}
    for node in fleet.nodes:
        running = node.running()
        if running is None:
            raise LocalFleetError(f"{node.node_id} does not run, so it has no metrics")
        found[node.node_id] = scrape(running.metrics_address).get(NODE_GENERATION, missing)
    return found


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return before and after of each process."""
    return {name: (before[name], after[name]) for name in after}


def flower_runs(fleet: LocalFleet) -> tuple[FlowerRun, ...]:
    """Return what `flwr ls` lists, oldest first, asked exactly as a user would.

    A job is over before its Flower run is: the ServerApp reports and then still has to end. So this asks
    again, for a while, as long as a run is listed as unfinished.
    """
    from fleet.learning.flower_command import FlowerCommand
    from fleet.learning.superlink import CONNECTION, run_info

    command = FlowerCommand(fleet.layout.coordinator / "flower" / "home", CONNECTION)
    deadline_s = time.monotonic() + _RUNS_END_WITHIN_S
    while True:
        runs = [run_info(run) for run in command("ls")["runs"]]
        if all(run.finished for run in runs) or time.monotonic() > deadline_s:
            return tuple(FlowerRun(run.run_id, run.status) for run in reversed(runs))
