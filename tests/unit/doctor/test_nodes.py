from __future__ import annotations

import pytest
from reram_fleet.v1.operator_pb2 import Forget, GetFleetResponse, Node

from fleet.coordinator.backup import back_up
from fleet.coordinator.restore import restore
from fleet.doctor.findings import State
from fleet.doctor.nodes import check_nodes
from fleet.doctor.target import Answer, Target
from fleet.store.database import Store, wall_clock_ms


def test_a_held_node_is_a_failure_and_says_where_to_read_on(folder, failure):
    with Store.open(folder.database_url) as store, store.transaction() as tx:
        tx.nodes.hold("node-2", "a false receipt")
    finding = failure("nodes")
    assert finding.found == "node-2 is held: a false receipt"
    assert "fleet node show node-2" in finding.fix


def test_nodes_that_a_restore_waits_for_are_a_failure_until_they_are_passed_over(folder, failure, found, tmp_path):
    back_up(folder, tmp_path / "backup.tar.gz")
    restore(folder, tmp_path / "backup.tar.gz")
    finding = failure("nodes")
    assert "before node-1, node-2 reconnected" in finding.found
    assert "accept-restore" in finding.fix

    with Store.open(folder.database_url) as store, store.transaction() as tx:
        tx.fleet.end_restore()
    (finding,) = found("nodes", State.WARNING)
    assert "gone on without node-1, node-2" in finding.found


@pytest.mark.parametrize(("days", "warnings"), [(0, 0), (2, 1)])
def test_a_node_that_is_not_heard_of_for_a_day_is_a_warning(folder, found, days, warnings):
    heard_ms = wall_clock_ms() - days * 24 * 3600 * 1000
    with Store.open(folder.database_url, now_ms=lambda: heard_ms) as store, store.transaction() as tx:
        tx.nodes.touch("node-1")
    silent = found("nodes", State.WARNING)
    assert len(silent) == warnings
    assert all("not heard of for a day: node-1" in each.found for each in silent)


HOUR_MS = 3600 * 1000


def answered(nodes=(), forgets=()):
    """Return what is found in an answer of a coordinator whose clock says 10 hours."""
    fleet = GetFleetResponse(now_unix_ms=10 * HOUR_MS)
    return list(check_nodes(Target(answer=Answer(fleet, nodes, forgets, 0, 0))))


def test_a_forget_that_is_open_for_over_an_hour_is_a_warning_and_names_whom_it_waits_for():
    late = Forget(campaign_id="late", state="erasing", created_at_unix_ms=8 * HOUR_MS)
    late.examples.add(node_id="node-2", state="held")
    young = Forget(campaign_id="young", state="erasing", created_at_unix_ms=10 * HOUR_MS - 1)
    *_, finding = answered(forgets=[late, young])
    assert (finding.state, finding.fix) == (State.WARNING, "fleet forget show late")
    assert finding.found == "forget late is erasing for over an hour; it waits for node-2"
    assert answered(forgets=[young])[-1].state is State.OK


def test_a_node_that_was_enrolled_and_never_heard_of_is_a_warning():
    _, finding, _ = answered(nodes=[Node(node_id="node-7")])
    assert (finding.state, finding.found) == (State.WARNING, "enrolled, and never heard of: node-7")
