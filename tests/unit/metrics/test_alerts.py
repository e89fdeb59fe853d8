"""Alerts over a fleet that is well but for one thing: that one fires, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import pytest

from fleet.metrics.alerts import NODE_BUDGET_W, STALE_S, all_alerts
from fleet.metrics.definitions import Severity
from tests.unit.metrics.promtool import (
    MINUTES,
    Check,
    Labels,
    Series,
    Values,
    after_a_reset,
    check,
    firing,
    growing,
    jump,
    steady,
    told_twice,
)

A_NODE = '{node="node-1"}'
ALERTS = {alert.name: alert for alert in all_alerts()}

#: A fleet of two nodes that is well, in what alerts look at.
WELL: Series = {
    'up{job="fleet-coordinator"}': steady(1),
    "fleet_coordinator_starts_total": jump(1, 2),
    "fleet_reconcile_age_seconds": steady(1),
    "fleet_forget_generation": jump(3, 4),
    "fleet_log_tree_size": growing(1),
    "fleet_forget_overdue": steady(0),
    "fleet_head_unsolved": steady(0),
    "fleet_nodes_behind_leased": steady(0),
    "fleet_endurance_left_ratio_min": steady(0.9),
    'fleet_nodes{state="serving"}': steady(2),
    'fleet_nodes{state="lost"}': steady(0),
    'fleet_learning_jobs{state="failed"}': steady(2),
    'fleet_receipts_total{verdict="verified"}': growing(2),
    'fleet_receipts_total{verdict="held"}': steady(0),
    'fleet_receipts_total{verdict="unsolicited"}': steady(0),
    'fleet_refused_reports_total{kind="rejected"}': steady(0),
    'fleet_refused_reports_total{kind="quarantined"}': steady(0),
    'fleet_forget_reram_cell_writes_total{phase="erase"}': steady(0),
    'fleet_energy_joules_total{phase="infer"}': growing(0.06),
    'fleet_energy_joules_total{phase="radio"}': growing(0.06),
    f"fleet_node_connected{A_NODE}": steady(1),
    f"fleet_node_serving{A_NODE}": steady(1),
    f"fleet_node_held{A_NODE}": steady(0),
    # A step behind for less than a minute, when the fleet has been asked and the shard has not.
    f"fleet_node_applied_forget_generation{A_NODE}": jump(3, 4),
    f"fleet_node_last_contact_timestamp_seconds{A_NODE}": [1 + 60 * minute for minute in range(MINUTES)],
    'prometheus_rule_evaluation_failures_total{rule_group="a"}': steady(0),
}


@dataclass(frozen=True)
class Case:
    """What is not well when an alert fires, and what is nearly not well when it does not."""

    fires: Series
    quiet: Series
    labels: Labels = field(default_factory=dict)
    #: Series that are not there when it fires.
    without: str | None = None


def one(name: str, values: Values, quiet: Values, **labels: str) -> Case:
    return Case({name: values}, {name: quiet}, labels)


#: Power of two nodes at their budget, in joules a minute.
BUDGET = 60 * 2 * NODE_BUDGET_W
CASES = {
    "NodeServingBehindGeneration": Case(
        {f"fleet_node_applied_forget_generation{A_NODE}": steady(3)},
        {f"fleet_node_applied_forget_generation{A_NODE}": steady(3), f"fleet_node_serving{A_NODE}": steady(0)},
        {"node": "node-1"},
    ),
    "NodeMayServeForgotten": one("fleet_nodes_behind_leased", jump(0, 2, 20), jump(0, 2)),
    "ForgetOverdue": one("fleet_forget_overdue", jump(0, 1), jump(1, 0)),
    "ReceiptInvalid": one('fleet_receipts_total{verdict="unsolicited"}', jump(0, 1), jump(0, 1, 65)),
    "ReRAMWritten": one('fleet_forget_reram_cell_writes_total{phase="erase"}', jump(0, 64), jump(0, 64, 65)),
    "LogInconsistent": one("fleet_log_tree_size", jump(70, 60), jump(60, 70)),
    "NodeHeld": one(f"fleet_node_held{A_NODE}", jump(0, 1), jump(0, 1, 3), node="node-1"),
    "ReportsRefused": one('fleet_refused_reports_total{kind="rejected"}', jump(0, 3), jump(0, 3, 65), kind="rejected"),
    "EnergyBudgetExceeded": one(
        'fleet_energy_joules_total{phase="infer"}', growing(1.1 * BUDGET), growing(0.9 * BUDGET)
    ),
    "EnduranceLow": one("fleet_endurance_left_ratio_min", steady(0.05), steady(0.15)),
    "HeadUnsolved": one("fleet_head_unsolved", jump(0, 1, 20), jump(0, 1, 5)),
    # A job that is dropped makes them fewer.
    "LearningJobFailed": one('fleet_learning_jobs{state="failed"}', jump(2, 3), jump(2, 1)),
    "FleetCoordinatorDown": one('up{job="fleet-coordinator"}', jump(1, 0), jump(1, 0, 1)),
    "ReconcileStuck": one("fleet_reconcile_age_seconds", jump(1, 90), jump(90, 1)),
    "CoordinatorRestarting": one(
        "fleet_coordinator_starts_total", [*steady(1)[15:], *range(2, 17)], [*steady(1)[15:], *[2] * 5, *[3] * 10]
    ),
    "ScrapeMissing": Case({}, {}, {"page": "/metrics/nodes"}, without="fleet_node_connected"),
    "RuleEvaluationFailures": one(
        'prometheus_rule_evaluation_failures_total{rule_group="a"}', jump(0, 5), jump(0, 5, 65), rule_group="a"
    ),
}

#: A fleet that is told once is among the second: its counters began at 0 a while ago.
VARIANTS = {"told twice": told_twice, "after a reset": after_a_reset}


def fired(name: str, **labels: str) -> Labels:
    return {"alertname": name, "severity": ALERTS[name].severity, **labels}


def with_fault(case: Case) -> Series:
    """Return the series of a fleet that is well but for one thing."""
    return {key: values for key, values in (WELL | case.fires).items() if not key.startswith(case.without or "-")}


def nearly() -> list[Series]:
    """Return what is nearly not well, all at once: none of it has another alert's series, so none can hide another.

    But that a node does not serve, or that a coordinator is away, would hide much: each is a fleet of its own.
    """
    alone = ("NodeServingBehindGeneration", "FleetCoordinatorDown")
    rest = [case.quiet for name, case in CASES.items() if name not in alone]
    together = dict(chain.from_iterable(series.items() for series in rest))
    assert len(together) == sum(map(len, rest))
    return [*(CASES[name].quiet for name in alone), together]


@pytest.mark.parametrize("variant", VARIANTS)
def test_alerts_fire_once_and_alone_and_not_for_what_is_nearly_so(tmp_path, variant):
    told = VARIANTS[variant]
    check(
        tmp_path,
        Check("all is well", told(WELL), firing()),
        *(Check(name, told(with_fault(case)), firing(fired(name, **case.labels))) for name, case in CASES.items()),
        *(Check(f"nearly {number}", told(WELL | series), firing()) for number, series in enumerate(nearly())),
    )


def test_an_alert_that_does_not_come_fails_the_check(tmp_path):
    with pytest.raises(AssertionError, match="ForgetOverdue"):
        check(tmp_path, Check("none", WELL, firing(fired("ForgetOverdue"))))


def test_a_coordinator_that_restarts_is_no_alert(tmp_path):
    gap = {name: [None if 60 <= minute < 62 else each for minute, each in enumerate(WELL[name])] for name in WELL}
    check(tmp_path, Check("restarts", gap, firing()))


def test_a_forget_log_that_goes_back_is_told_though_the_tree_is_long(tmp_path):
    gone_back = WELL | {"fleet_forget_generation": jump(5, 4)}
    check(tmp_path, Check("goes back", gone_back, firing(fired("LogInconsistent"))))


def test_a_coordinator_that_nobody_scrapes_is_told(tmp_path):
    series = {name: WELL[name] for name in WELL if name.startswith("prometheus_")}
    check(tmp_path, Check("unseen", series, firing(fired("ScrapeMissing", page="/metrics"))))


@pytest.mark.parametrize(("silent_s", "stale"), [(STALE_S + 600, True), (STALE_S - 600, False)])
def test_a_node_that_was_silent_for_days_is_stale(tmp_path, silent_s, stale):
    # The end is a whole number of hours, so that the rules are looked at then.
    step_min, end_min = 4, STALE_S // 60 + 60
    steps = end_min // step_min + 1
    names = ["up", "fleet_forget_generation", "fleet_node_connected"]
    series = {name: [WELL[name][0]] * steps for name in WELL if name.startswith(tuple(names))}
    contact_s = 60 * end_min - silent_s
    series[f"fleet_node_last_contact_timestamp_seconds{A_NODE}"] = [contact_s] * steps
    alerts = [fired("NodeStale", node="node-1")] if stale else []

    check(tmp_path, Check("silent", told_twice(series), firing(*alerts)), step_min=step_min, look_min=60)


def test_every_alert_is_tested():
    assert CASES.keys() | {"NodeStale"} == ALERTS.keys()


def test_who_is_woken():
    pages = {name for name, alert in ALERTS.items() if alert.severity is Severity.PAGE}
    assert pages == {
        "NodeServingBehindGeneration",
        "ForgetOverdue",
        "ReceiptInvalid",
        "ReRAMWritten",
        "LogInconsistent",
        "FleetCoordinatorDown",
        "ReconcileStuck",
        "ScrapeMissing",
    }
