from __future__ import annotations

import json
import threading
import time

import pytest
from reram_fleet.v1 import operator_pb2 as operator

from fleet.cli.forget_view import erased


def test_forget_of_a_registered_person_names_all_their_active_tags(cli):
    tags = {cli.enrol("s07"), cli.enrol("s07")}
    cli.enrol("s04")
    forget = cli.json("forget", "create", "--subject", "s07", "--yes")
    assert cli.operator.tags[forget["campaign_id"]] == tags
    assert (forget["generation"], forget["created"]) == (1, True)


def test_forget_marks_the_enrolments_in_the_registry(cli):
    cli.enrol("s07")
    forget = cli.json("forget", "create", "--subject", "s07", "--yes")
    (enrolment,) = cli.registry.enrolments("s07")
    assert (enrolment.state, enrolment.campaign_id) == ("forgotten", forget["campaign_id"])


def test_forget_of_an_unknown_person_is_exit_3_and_suggests_a_near_name(cli):
    cli.enrol("shirley")
    result = cli.run("forget", "create", "--subject", "shirly", "--yes")
    assert result.exit_code == 3
    assert "nobody called 'shirly'" in result.stderr
    assert "did you mean 'shirley'?" in result.stderr
    assert not cli.operator.forgets


def test_forget_of_a_tag_that_no_node_reported_is_exit_3_unless_unknown_is_allowed(cli):
    arguments = ["forget", "create", "--tag", "ab" * 16, "--yes"]
    assert cli.run(*arguments).exit_code == 3
    assert cli.run(*arguments, "--allow-unknown").exit_code == 0


def test_forget_without_terminal_and_without_yes_is_exit_2_and_changes_nothing(cli):
    cli.enrol("s07")
    result = cli.run("forget", "create", "--subject", "s07")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not cli.operator.forgets
    assert cli.registry.active_tags("s07")


@pytest.mark.parametrize("arguments", [[], ["--tag", "Shirley"], ["--tag", "AB" * 16]])
def test_forget_of_nothing_or_of_a_malformed_tag_is_exit_2(cli, arguments):
    assert cli.run("forget", "create", "--yes", *arguments).exit_code == 2
    assert not cli.operator.forgets


def test_forget_of_a_concept_names_no_tag_and_is_shown_as_one(cli):
    forget = cli.json("forget", "create", "--concept", "style:night", "--yes")
    assert (forget["concepts"], cli.operator.tags[forget["campaign_id"]]) == (["style:night"], set())
    shown = cli.run("forget", "show", forget["campaign_id"]).stdout
    assert "style:night" in shown


@pytest.mark.parametrize("arguments", [["--concept", "night"], ["--concept", "style:night", "--tag", "ab" * 16]])
def test_forget_of_what_is_no_concept_or_of_a_concept_and_a_person_is_exit_2(cli, arguments):
    assert cli.run("forget", "create", "--yes", *arguments).exit_code == 2
    assert not cli.operator.forgets


def test_same_request_id_again_forgets_nothing_twice(cli):
    cli.enrol("s07")
    arguments = ["forget", "create", "--subject", "s07", "--yes", "--request-id", "r-1"]
    first, second = cli.json(*arguments), cli.json(*arguments)
    assert (first["created"], second["created"]) == (True, False)
    assert first["campaign_id"] == second["campaign_id"]
    assert len(cli.operator.forgets) == 1


def test_same_request_id_with_other_tags_is_exit_4(cli):
    cli.enrol("s07")
    cli.enrol("s04")
    assert cli.run("forget", "create", "--subject", "s07", "-y", "--request-id", "r-1").exit_code == 0
    assert cli.run("forget", "create", "--subject", "s04", "-y", "--request-id", "r-1").exit_code == 4


def test_second_forget_of_the_same_person_says_so_and_shows_the_campaign(cli):
    cli.enrol("s07")
    cli.json("forget", "create", "--subject", "s07", "--yes")
    result = cli.run("forget", "create", "--subject", "s07")
    assert result.exit_code == 0
    assert "s07 is forgotten already, by campaign campaign-1" in result.stderr
    assert "Forget campaign-1" in result.stdout
    again = cli.json("forget", "create", "--subject", "s07")
    assert (again["campaign_id"], again["created"]) == ("campaign-1", False)
    assert len(cli.operator.forgets) == 1


def test_people_who_are_left_are_forgotten_beside_one_who_is_forgotten_already(cli):
    cli.enrol("s07")
    cli.json("forget", "create", "--subject", "s07", "--yes")
    left = cli.enrol("s04")
    forget = cli.json("forget", "create", "--subject", "s07", "--subject", "s04", "--yes")
    assert cli.operator.tags[forget["campaign_id"]] == {left}


def test_an_enrolment_that_was_never_used_does_not_block_the_forget_and_goes_with_it(cli):
    used = cli.enrol("s07")
    unused = cli.registry.enrol("s07")
    result = cli.run("forget", "create", "--subject", "s07", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "1 enrolment of them" in result.stderr
    assert cli.operator.tags["campaign-1"] == {used, unused}
    assert cli.registry.active_tags("s07") == []


def test_a_tag_that_was_typed_wrongly_beside_a_known_one_is_refused(cli):
    known = cli.enrol("s07")
    result = cli.run("forget", "create", "--tag", known, "--tag", "ab" * 16, "--yes")
    assert result.exit_code == 3
    assert not cli.operator.forgets


def test_somebody_whom_no_node_has_reported_is_refused_with_a_way_on(cli):
    cli.registry.enrol("s07")
    cli.registry.enrol("s07")
    assert cli.run("forget", "create", "--subject", "s07", "--yes").exit_code == 3
    assert not cli.operator.forgets


def test_names_are_read_from_standard_input(cli):
    tags = {cli.enrol("s07"), cli.enrol("Zoë B.")}
    cli.enrol("s04")
    result = cli.run("forget", "create", "--subject", "-", "--yes", stdin="s07\n\nZoë B.\n")
    assert result.exit_code == 0, result.stderr
    assert cli.operator.tags["campaign-1"] == tags


@pytest.mark.parametrize(("stdin", "options"), [("", ["--yes"]), ("s07\n", [])], ids=["no name", "no --yes"])
def test_names_from_standard_input_that_cannot_be_used_are_exit_2(cli, stdin, options):
    cli.enrol("s07")
    assert cli.run("forget", "create", "--subject", "-", *options, stdin=stdin).exit_code == 2
    assert not cli.operator.forgets


def test_one_of_a_thing_is_not_several():
    receipt = {
        "outcome": "erased",
        "subject_adapters_erased": 1,
        "lora_rows_erased": 0,
        "code_samples_erased": 12,
        "keys_destroyed": 1,
    }
    assert erased(receipt) == "1 adapter, 0 LoRA rows, 12 samples, 1 key"


def test_a_new_consent_after_a_forget_is_forgotten_by_its_new_tag_only(cli):
    cli.enrol("s07")
    cli.json("forget", "create", "--subject", "s07", "--yes")
    renewed = cli.enrol("s07")
    forget = cli.json("forget", "create", "--subject", "s07", "--yes")
    assert cli.operator.tags[forget["campaign_id"]] == {renewed}


def test_wait_returns_when_every_node_has_verified(cli):
    cli.enrol("s07")

    def verify() -> None:
        # Not before it was created, however busy the machine is; then a moment for the first sight of it.
        while "campaign-1" not in cli.operator.tags:
            time.sleep(0.05)
        time.sleep(0.3)
        cli.operator.advance("campaign-1", "converged", {"node-1": "verified", "node-2": "not_affected"})

    converge = threading.Thread(target=verify, daemon=True)
    converge.start()
    result = cli.run("forget", "create", "--subject", "s07", "--yes", "--wait", "-o", "json")
    converge.join()
    assert result.exit_code == 0
    forget = json.loads(result.stdout)
    assert (forget["state"], forget["seconds_to_verify"]) == ("converged", 1.5)
    assert "suppressing (2 pending)" in result.stderr


def test_wait_that_takes_too_long_is_exit_7_and_tells_how_to_go_on(cli):
    cli.enrol("s07")
    result = cli.run("forget", "create", "--subject", "s07", "--yes", "--wait", "--timeout", "0.3")
    assert result.exit_code == 7
    assert "fleet forget watch campaign-1" in result.stderr


def test_wait_for_a_campaign_that_only_held_nodes_keep_open_is_exit_8(cli):
    cli.enrol("s07")
    cli.json("forget", "create", "--subject", "s07", "--yes")
    cli.operator.advance("campaign-1", "erasing", {"node-1": "verified", "node-2": "held"})
    result = cli.run("forget", "watch", "campaign-1")
    assert result.exit_code == 8
    assert "node-2" in result.stderr


def test_watch_of_an_unknown_campaign_is_exit_3_at_once(cli):
    assert cli.run("forget", "watch", "campaign-9").exit_code == 3


def test_show_and_list_agree(cli):
    cli.enrol("s07")
    created = cli.json("forget", "create", "--subject", "s07", "--yes")
    shown = cli.json("forget", "show", created["campaign_id"])
    (listed,) = cli.json("forget", "list")["items"]
    assert listed.items() <= shown.items()
    assert shown["verdicts"] == {"subject-adapter": {"verdict": "EXACT", "basis": "integer sums"}}


def test_table_shows_every_node_and_never_a_tag(cli):
    tag = cli.enrol("s07")
    created = cli.run("forget", "create", "--subject", "s07", "--yes")
    shown = cli.run("forget", "show", "campaign-1")
    for result in (created, shown):
        assert "node-1" in result.stdout
        assert "node-2" in result.stdout
        assert tag not in result.stdout + result.stderr


@pytest.fixture
def large_campaign(cli):
    """Campaign on 120 nodes: the first is lost, the others have verified."""
    cli.enrol("s07")
    cli.json("forget", "create", "--subject", "s07", "--yes")
    states = ["lost"] + ["verified"] * 119
    cli.operator.executions["campaign-1"] = [
        operator.Execution(campaign_id="campaign-1", node_id=f"node-{number:03}", state=state)
        for number, state in enumerate(states)
    ]
    return "campaign-1"


def test_campaign_of_a_large_fleet_is_shown_as_counts_and_page_by_page(cli, large_campaign):
    result = cli.run("forget", "show", large_campaign)
    assert "1 lost, 119 verified" in result.stdout
    assert ("node-049" in result.stdout, "node-050" in result.stdout) == (True, False)
    assert "The first 50 nodes: --all shows every one" in result.stderr
    pages = [cli.json("forget", "show", large_campaign, "--limit", "100")]
    pages.append(cli.json("forget", "show", large_campaign, "--after", pages[0]["next_page_token"]))
    assert pages[1]["next_page_token"] is None
    listed = [execution["node_id"] for page in pages for execution in page["executions"]]
    assert listed == [f"node-{number:03}" for number in range(120)]
    everything = cli.json("forget", "show", large_campaign, "--all")
    assert (len(everything["executions"]), everything["counts"]) == (120, {"lost": 1, "verified": 119})


def test_nodes_in_one_state_are_shown_alone(cli, large_campaign):
    (lost,) = cli.json("forget", "show", large_campaign, "--state", "lost")["executions"]
    assert lost["node_id"] == "node-000"
