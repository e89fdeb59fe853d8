"""`fleet node release|retire|retry`, and what other verbs say of nodes that a forget does without."""

from __future__ import annotations

import threading

import pytest
from reram_fleet.v1 import operator_pb2 as operator


@pytest.fixture
def campaign(cli):
    """Return the id of a forget that node-1 has verified."""
    cli.enrol("s07")
    campaign_id = cli.json("forget", "create", "--subject", "s07", "--yes")["campaign_id"]
    cli.operator.advance(campaign_id, "erasing", {"node-1": "verified"})
    return campaign_id


def test_release_says_so_and_leaves_its_reason_for_auditors(cli):
    cli.operator.nodes["node-2"].held_reason = "receipt of generation 1: digests differ"
    assert cli.json("node", "release", "node-2", "--reason", "clock mended")["held_reason"] is None
    (event,) = cli.json("node", "show", "node-2")["audit_events"]
    assert (event["event"], event["reason"]) == ("node_released", "clock mended")


def test_release_of_a_node_that_is_not_held_is_exit_4(cli):
    result = cli.run("node", "release", "node-2", "--reason", "why not")
    assert (result.exit_code, "is not held" in result.stderr) == (4, True)


@pytest.mark.parametrize("verb", [["release"], ["retire", "--yes"]])
def test_decision_needs_a_reason(cli, verb):
    result = cli.run("node", *verb, "node-2")
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_retire_names_the_forgets_that_go_on_without_the_node(cli):
    result = cli.run("node", "retire", "node-2", "--reason", "fell into the river", "--yes")
    assert result.exit_code == 0
    assert "Forget campaign-1 has converged without it." in result.stderr
    assert "--discard-contributions" in result.stderr
    assert cli.operator.discarded == set()
    shown = cli.run("node", "show", "node-2")
    assert "retired: fell into the river" in shown.stdout
    assert "node_retired" in shown.stdout


def test_retire_discards_contributions_only_on_demand(cli):
    arguments = ["node", "retire", "node-2", "--reason", "stolen", "--yes", "--discard-contributions"]
    assert cli.json(*arguments)["retired_at_unix_ms"] == 1_700_000_000_000
    assert cli.operator.discarded == {"node-2"}


def test_retire_without_terminal_and_without_yes_is_exit_2_and_changes_nothing(cli):
    result = cli.run("node", "retire", "node-2", "--reason", "stolen")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not cli.operator.nodes["node-2"].retired_at_unix_ms


def test_retire_of_an_unknown_node_is_exit_3_before_anybody_is_asked(cli):
    assert cli.run("node", "retire", "node-9", "--reason", "stolen").exit_code == 3


def test_retry_orders_anew(cli, campaign):
    execution = cli.json("node", "retry", "node-2", campaign, "--reason", "no answer for an hour")
    assert (execution["state"], execution["detail"]) == ("suppressed", "ordered anew: no answer for an hour")
    assert cli.run("node", "retry", "node-9", campaign).exit_code == 3


def test_every_view_names_the_nodes_that_a_forget_does_without(cli, campaign):
    cli.operator.advance(campaign, "converged", {"node-1": "lost", "node-2": "retired"})
    text = "converged except 2: node-1 (lost), node-2 (retired)"
    for arguments in (["show", campaign], ["list"], ["watch", campaign]):
        assert text in cli.run("forget", *arguments).stdout
    assert text in cli.run("forget", "watch", campaign).stderr
    assert cli.json("forget", "show", campaign)["excepted_node_ids"] == ["node-1", "node-2"]


def test_forget_says_who_may_still_serve_and_until_when(cli, campaign):
    forget = cli.operator.forgets[campaign]
    forget.seconds_to_suppress = 0.83
    late = operator.MayServe(node_id="node-2", until_unix_ms=1_700_000_030_000, last_contact_unix_ms=1_700_000_000_000)
    forget.may_serve.append(late)
    shown = cli.run("forget", "show", campaign).stdout
    assert "on connected nodes in 0.83 s; on 1 of 2 nodes now" in shown
    assert "node-2 was last heard of at" in shown
    assert "(its lease)" in shown
    assert "0.83 s (1 may serve)" in cli.run("forget", "list").stdout
    assert cli.json("forget", "show", campaign)["may_serve"] == [
        {"node_id": "node-2", "until_unix_ms": 1_700_000_030_000, "last_contact_unix_ms": 1_700_000_000_000}
    ]


def test_node_without_a_lease_is_said_to_serve_nothing(cli, campaign):
    assert (
        "no adapters are served before the log is taken: node-2 (no lease)"
        in cli.run("forget", "show", campaign).stdout
    )


def test_progress_and_time_out_name_the_nodes_that_are_waited_for(cli, campaign):
    result = cli.run("forget", "watch", campaign, "--timeout", "0.3")
    assert result.exit_code == 7
    progress, error = result.stderr.split("Error:")
    for said in (progress, error):
        assert "waits for node-2 (pending)" in said
    assert "fleet node retire" in error


def test_wait_for_held_nodes_says_which_verbs_end_it(cli, campaign):
    cli.operator.advance(campaign, "erasing", {"node-2": "held"})
    result = cli.run("forget", "watch", campaign)
    assert result.exit_code == 8
    assert "fleet node release" in result.stderr
    assert "fleet node retire" in result.stderr


def test_line_of_a_large_fleet_names_a_few_nodes_and_counts_the_rest(cli, campaign):
    cli.operator.executions[campaign].extend(
        operator.Execution(campaign_id=campaign, node_id=f"late-{i}", state="pending") for i in range(9)
    )
    result = cli.run("forget", "watch", campaign, "--timeout", "0.3")
    assert "late-4 (pending) and 5 more" in result.stderr


def test_watch_ends_with_the_exceptions_as_its_last_line(cli, campaign):
    watching = threading.Timer(0.3, cli.operator.advance, (campaign, "converged", {"node-2": "lost"}))
    watching.start()
    result = cli.run("forget", "watch", campaign)
    watching.join()
    assert result.exit_code == 0
    assert "converged except 1: node-2 (lost)" in result.stderr.strip().splitlines()[-1]


def test_reports_that_were_put_aside_are_shown_with_their_reason(cli):
    reason = "a code sum of 1 samples is 1099511627776"
    cli.operator.quarantined["node-1"].append(
        operator.QuarantinedReport(kind="contribution", reason=reason, count=3, last_at_unix_ms=1)
    )
    assert cli.json("node", "show", "node-1")["quarantined"][0]["count"] == 3
    shown = " ".join(cli.run("node", "show", "node-1").stdout.split())
    assert "Reports put aside" in shown
    assert reason.split()[-1] in shown
