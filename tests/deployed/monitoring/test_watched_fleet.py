"""Boards, rules and alerts on a fleet that runs: every query answers, every name is known, one alert is received."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator

import promql_parser
import pytest
from reram_fleet.processes.flower import program

from fleet.metrics.alerts import all_alerts
from fleet.metrics.boards import BOARDS
from fleet.metrics.recordings import RECORDINGS
from tests.integration.coordinator.coordinator_process import eventually
from tests.metrics_page import exported, name_of
from tests.watched_fleet import WatchedFleet

#: A node that has a chip, whose every figure is there.
NODE = "node-1"
QUERIES = [
    pytest.param(query.of(board.variable, NODE).expr, id=f"{board.title}: {panel.title}: {query.legend}")
    for board in BOARDS
    for panel in board.panels
    for query in panel.queries
]
RECORDED = {rule.name: rule.expr for group in RECORDINGS.values() for rule in group}
#: What Prometheus has of itself and of what it scrapes.
ITS_OWN = {"ALERTS", "up", "prometheus_rule_evaluation_failures_total"}
#: Process metrics, which are the library's.
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
#: Exported, and in no panel or rule.
UNUSED = {
    "edge_node_": "a device behind NAT is not scraped: boards have what its coordinator says of it",
    "fleet_masked_concepts": "of fleets that draw; those that recognise have no panel of it, and this one recognises",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[WatchedFleet]:
    """Return a fleet that has forgotten somebody."""
    with WatchedFleet(tmp_path_factory.mktemp("watched"), full_nodes=2, guests=4) as fleet:
        tags = fleet.tags = fleet.enrol_people()
        fleet.await_value("sum(fleet_node_connected)", fleet.nodes)
        # What was counted before the first scrape is no increase.
        fleet.await_value("fleet_forget_suppress_duration_seconds_count", 0)
        fleet.await_value("sum(fleet_node_subject_adapters >= bool 3)", fleet.nodes)
        forgotten = fleet.converged(fleet.forget(tags[0]))
        assert forgotten.reram_writes == 0
        for recorded in (
            "fleet:forget_suppress_duration_seconds:p50_1h",
            "fleet:forget_verify_duration_seconds:p99_1h",
        ):
            fleet.await_value(f"{recorded} > bool 0", 1)
        yield fleet


def names_in(expr: str) -> set[str]:
    """Return the metrics that an expression names."""
    found, waiting = set(), [promql_parser.parse(expr)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))
        elif isinstance(node, promql_parser.MatrixSelector):
            found.add(str(node.vector_selector.name))
        waiting += [each for each in (getattr(node, name, None) for name in ("expr", "lhs", "rhs")) if each]
        waiting += getattr(node, "args", None) or []
    return found


def known_names() -> set[str]:
    """Return what a fleet exports, by the names of queries."""
    found = set()
    for families in exported().values():
        for family in families:
            suffixes = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
            found |= {name_of(family) + suffix for suffix in suffixes}
    # Simulated runs have a board of their own, and no rules.
    return {name for name in found if not name.startswith("fleet_sim_")}


@pytest.mark.slow
@pytest.mark.parametrize("expr", QUERIES)
def test_panel_has_data(watched, expr):
    found = watched.prometheus.query(expr)

    assert found
    assert all(math.isfinite(series.newest) for series in found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_recording_has_data(watched, name):
    found = watched.prometheus.query(name)

    assert found
    assert all(math.isfinite(series.newest) for series in found), found


@pytest.mark.slow
@pytest.mark.parametrize("alert", all_alerts(), ids=lambda alert: alert.name)
def test_alert_is_evaluated_and_does_not_fire(watched, alert):
    assert watched.prometheus.query(alert.expr) == []


@pytest.mark.slow
def test_every_rule_is_well(watched):
    groups = watched.rules()

    assert {rule["name"] for rule in groups} == RECORDED.keys() | {alert.name for alert in all_alerts()}
    assert {rule["health"] for rule in groups} == {"ok"}, [rule for rule in groups if rule["health"] != "ok"]


def test_queries_name_what_exists_and_all_that_exists_is_used():
    expressions = [*(param.values[0] for param in QUERIES), *RECORDED.values(), *(a.expr for a in all_alerts())]
    used = set().union(*map(names_in, expressions))
    known = known_names()

    assert used - known == ITS_OWN | PROCESS | RECORDED.keys()
    assert {name for name in known - used if not name.startswith(tuple(UNUSED))} == set()


@pytest.mark.slow
def test_names_are_those_that_the_processes_export(watched):
    scraped = {series.labels["__name__"] for series in watched.prometheus.query('{job=~"fleet-.*"}')}

    known = known_names()
    assert known - scraped == set()
    assert {name for name in scraped - known if not re.match("process_|python_|scrape_|up$", name)} == set()


@pytest.mark.slow
def test_page_of_the_boards_shows_every_panel(watched, tmp_path):
    page = tmp_path / "page.html"
    command = [program("fleet"), "report", "dashboard", "--prometheus", watched.url, "--hours", "0.05", "--node", NODE]
    done = subprocess.run([*command, "--output", page], capture_output=True, text=True, timeout=60)
    text = page.read_text(encoding="utf-8") if done.returncode == 0 else ""

    assert "5 boards" in done.stderr, done.stderr
    assert text.count('<section class="card">') == sum(len(board.panels) for board in BOARDS)
    assert "no data" not in text
    assert not [tag for tag in watched.tags if tag in text]


@pytest.mark.slow
def test_node_that_lies_pages_somebody(watched):
    liar = watched.guests[0]
    watched.lie(liar)

    pages = eventually("the page", lambda: watched.webhook.alerts("/page"))

    assert set(pages) == {"ReceiptInvalid"}
    page = pages["ReceiptInvalid"]
    assert page["labels"] == {"alertname": "ReceiptInvalid", "severity": "page"}
    assert page["annotations"]["runbook_url"].endswith("runbooks.md#receiptinvalid")
    with watched.local.client() as client:
        assert client.get_node(liar.node_id).node.held_reason
