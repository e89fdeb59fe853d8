"""Verbs after a restore of the coordinator: which nodes are awaited, and going on without them."""

from __future__ import annotations

import pytest

RESTORED_MS = 1_700_000_000_000


@pytest.fixture
def restored(cli):
    """Return the CLI over a fleet that has not heard from node-2 since a restore."""
    cli.operator.fleet.restored_at_unix_ms, cli.operator.fleet.nodes_awaited = RESTORED_MS, 1
    node = cli.operator.nodes["node-2"]
    node.connected, node.awaited_since_unix_ms = False, RESTORED_MS
    return cli


def test_status_says_what_waits_for_which_node_and_what_to_do(restored):
    status = restored.run("status")
    assert "no forget and no lease before 1 more node reconnected" in " ".join(status.stdout.split())
    assert "awaiting reconnect" in status.stdout
    assert "start node-2;" in status.stderr
    assert "accept-restore" in status.stderr
    assert restored.json("status")["fleet"]["nodes_awaited"] == 1


@pytest.mark.parametrize("verb", [["list"], ["show", "node-2"]])
def test_a_node_that_is_awaited_is_shown_so(restored, verb):
    assert "awaiting reconnect" in restored.run("node", *verb).stdout


def test_a_restore_is_accepted_with_a_reason_and_a_yes(restored):
    arguments = ["admin", "accept-restore", "--reason", "in a drawer"]
    assert restored.run(*arguments).exit_code == 2
    assert restored.operator.fleet.nodes_awaited == 1
    assert restored.json(*arguments, "--yes")["node_ids"] == ["node-2"]
    (event,) = restored.json("node", "show", "node-2")["audit_events"]
    assert (event["event"], event["reason"]) == ("node_passed_over", "in a drawer")
    assert "accept-restore" not in restored.run("status").stderr
