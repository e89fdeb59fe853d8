"""Figures of the boards: what a forget moves on them, held against what the coordinator says; panels and alerts."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from reram_fleet.v1 import types_pb2 as types

from fleet.client import FleetClient
from fleet.metrics.alerts import all_alerts
from fleet.metrics.boards import BOARDS
from tests.bench.figure import Figure, Target
from tests.bench.measuring import ROOT
from tests.integration.coordinator.coordinator_process import eventually
from tests.watched_fleet import WatchedFleet

#: Node whose figures are looked at.
NODE = "node-1"
_ALERT_TESTS = ("-p", "no:cacheprovider", "tests/unit/metrics/test_alerts.py")
#: How far sums of floats may lie apart, as a share.
_CLOSE = 1e-9
#: Panels of which a forget of one person on a fleet with a node out of contact moves at least so many.
_MOVED = 8


def _executions(state: str) -> Callable[[FleetClient], float]:
    def count(client: FleetClient) -> float:
        found = (count for forget in client.list_forgets().items for count in forget.counts)
        return sum(each.nodes for each in found if each.state == state)

    return count


def _forgets(converged: bool) -> Callable[[FleetClient], float]:
    return lambda client: sum((each.state == "converged") == converged for each in client.list_forgets().items)


#: Ten panels: one of the queries of each, and what the coordinator says of the same by gRPC.
PANELS: Mapping[tuple[str, str], tuple[str, Callable[[FleetClient], float]]] = {
    ("Fleet", "Forget log"): ("max(fleet_forget_generation)", lambda client: client.get_fleet().generation),
    ("Fleet", "Nodes by state"): (
        'state:fleet_nodes:max{state="serving"}',
        lambda client: client.get_fleet().nodes_serving,
    ),
    ("Fleet", "Connected, held, retired"): (
        "max(fleet_nodes_connected)",
        lambda client: client.get_fleet().nodes_connected,
    ),
    ("Fleet", "Behind the log"): (
        "max(fleet_nodes_behind)",
        lambda client: sum(each.generation < client.get_fleet().generation for each in client.list_nodes().items),
    ),
    ("Fleet", "Log and revision"): ("max(fleet_log_tree_size)", lambda client: client.get_fleet().log_size),
    ("Forgets", "Open forgets"): (
        'sum(max by (state) (fleet_forgets{state!="converged"}))',
        _forgets(converged=False),
    ),
    ("Forgets", "Waves: forgets on nodes, by state"): (
        'max by (state) (fleet_forget_executions{state="verified"})',
        _executions("verified"),
    ),
    ("Node", "Entries that it lacks"): (
        f'node:fleet_generation_lag:max{{node="{NODE}"}}',
        lambda client: client.get_fleet().generation - client.get_node(NODE).node.generation,
    ),
    ("Node", "Energy since it was made"): (
        # Before it has erased anything there is no such series.
        f'sum(max by (phase) (fleet_node_energy_joules_total{{node="{NODE}",phase="erase"}})) or vector(0)',
        lambda client: sum(
            cost.energy_j for cost in client.get_node(NODE).node.costs if cost.phase == types.ENERGY_PHASE_ERASE
        ),
    ),
    ("Chip and energy", "ReRAM cells written"): (
        'max by (phase) (fleet_reram_cell_writes_total{phase="program"})',
        lambda client: sum(
            cost.cell_writes for cost in client.get_energy_report().totals if cost.phase == types.ENERGY_PHASE_PROGRAM
        ),
    ),
    ("Learning jobs", "Revision"): ("max(fleet_desired_revision)", lambda client: client.get_fleet().revision),
}


def board_moves() -> Iterator[Figure]:
    """Yield how many panels agree with the coordinator before, during and after a forget; and panels and alerts."""
    with tempfile.TemporaryDirectory() as folder, WatchedFleet(Path(folder)) as fleet:
        tags = fleet.enrol_people()
        fleet.await_value("fleet_forget_suppress_duration_seconds_count", 0)
        away = fleet.guests[-1]
        seen = [_agreed(fleet, "before")]
        away.go_away()
        fleet.until("a node is away", lambda client: client.get_fleet().nodes_connected == fleet.nodes - 1)
        campaign = fleet.forget(tags[0])
        fleet.until("it waits for that node", lambda client: _executions("verified")(client) == fleet.nodes - 1)
        seen.append(_agreed(fleet, "during"))
        away.connect()
        fleet.converged(campaign)
        seen.append(_agreed(fleet, "after"))
        agreeing = tuple(float(len(each)) for each in seen)
        yield Figure("panels that say what the coordinator says", agreeing, "1", Target("=", len(PANELS)))
        moved = sum(len({values.get(panel) for values in seen}) > 1 for panel in PANELS)
        yield Figure("of these, moved by a forget", (float(moved),), "1", Target(">=", _MOVED))
        panels = [(board, panel) for board in BOARDS for panel in board.panels]
        drawn = sum(
            _has_data(fleet, [q.of(board.variable, NODE).expr for q in panel.queries]) for board, panel in panels
        )
        yield Figure("panels with data, every query of each", (float(drawn),), "1", Target("=", len(panels)))
        began_s = time.monotonic()
        fleet.lie(fleet.guests[0])
        pages = eventually("the page", lambda: fleet.webhook.alerts("/page"))
        yield Figure("alerts received through Alertmanager", (float(len(pages)),), "1", Target(">=", 1))
        yield Figure("from a forget that a node lies about to the page", (time.monotonic() - began_s,), "s")
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q", *_ALERT_TESTS], cwd=ROOT, stdout=sys.stderr)
    # One of them says that each alert has its cases.
    alerts = 0 if tested.returncode else len(all_alerts())
    yield Figure("alerts tested by promtool: told once and twice, after a reset", (float(alerts),), "1", Target(">", 0))


def _agreed(fleet: WatchedFleet, when: str) -> dict[tuple[str, str], float]:
    """Return the values of the panels that agree, once all do; those that never do are told and left out."""
    found: dict[tuple[str, str], float] = {}

    def all_agree() -> bool:
        found.clear()
        with fleet.local.client() as client:
            for panel, (expr, said) in PANELS.items():
                value = fleet.value(expr)
                if value is not None and math.isclose(value, said(client), rel_tol=_CLOSE):
                    found[panel] = value
        return len(found) == len(PANELS)

    try:
        eventually(f"all panels agree {when}", all_agree)
    except AssertionError as error:
        sys.stderr.write(f"{error}: {sorted(PANELS.keys() - found.keys())}\n")
    return found


def _has_data(fleet: WatchedFleet, expressions: list[str]) -> bool:
    found = [fleet.prometheus.query(expr) for expr in expressions]
    return all(series and all(math.isfinite(each.newest) for each in series) for series in found)
