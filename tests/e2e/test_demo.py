"""The main job: `fleet demo` starts a real fleet, enrols people, forgets one, and proves it."""

from __future__ import annotations

import pytest

from tests.e2e import demo_run
from tests.e2e.demo_run import DemoRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

NODES = [f"node-{number}" for number in range(1, demo_run.NODES + 1)]
PHASES = {"program", "infer", "train", "erase", "verify", "radio"}
LEAST_RETAIN_ACCURACY = 0.95
ACCEPTANCE_MARGIN = 0.05


def test_demo_verifies_every_claim_and_ends_with_zero(demo: DemoRun) -> None:
    assert demo.exit_code == 0, demo.stderr
    failed = [claim for claim in demo.document["claims"] if not claim["holds"]]
    assert not failed
    assert len(demo.document["claims"]) >= 18
    assert demo.document["ok"] is True
    assert "Recognition" in demo.stdout
    assert "Claims" in demo.stdout


def test_every_node_has_verified_and_serves_the_newest_generation(demo: DemoRun) -> None:
    assert [node["node_id"] for node in demo.document["nodes"]] == NODES
    assert {node["state"] for node in demo.document["nodes"]} == {"verified"}
    assert {node["serve_state"] for node in demo.document["nodes"]} == {"serving"}
    assert {node["generation"] for node in demo.document["nodes"]} == {demo.document["generation"]} == {1}
    assert len({node["revision_digest"] for node in demo.document["nodes"]}) == 1
    assert demo.document["state"] == "converged"


@pytest.mark.parametrize("number", range(len(NODES)), ids=NODES)
def test_kept_people_are_recognised_and_the_forgotten_one_is_a_stranger(demo: DemoRun, number: int) -> None:
    node = demo.document["nodes"][number]
    assert node["retain_accuracy_before"] >= LEAST_RETAIN_ACCURACY
    assert node["retain_accuracy_after"] >= LEAST_RETAIN_ACCURACY
    assert node["forget_accuracy_before"] >= LEAST_RETAIN_ACCURACY
    assert node["forget_accuracy_after"] == 0
    assert node["forget_accept_rate_after"] <= node["stranger_accept_rate"] + ACCEPTANCE_MARGIN
    # A node that accepts nobody would forget well, too.
    assert node["genuine_accept_rate"] >= 0.8
    assert node["stranger_accept_rate"] <= 0.1


@pytest.mark.parametrize("number", range(len(NODES)), ids=NODES)
def test_forget_is_accounted_for_and_writes_no_cell(demo: DemoRun, number: int) -> None:
    node = demo.document["nodes"][number]
    assert set(node["energy_j"]) == PHASES
    assert all(joules > 0 for joules in node["energy_j"].values())
    assert node["reram_writes_total"] > 0
    assert node["reram_writes_forget"] == 0
    assert node["forget"]["costs"]["erase"]["energy_j"] > 0
    assert all(cost["cell_writes"] == 0 for cost in node["forget"]["costs"].values())
    overhead = node["deployment_overhead"]
    assert overhead["energy_j"] > 0
    assert overhead["seconds"] > 0
    assert overhead["bytes"] > 0
    assert overhead["cell_writes"] == 0
    assert overhead["reprogramming_cell_writes"] > 0
    assert overhead["reprogramming_ratio"] > 1


def test_fleet_tells_verdicts_energy_model_and_seconds(demo: DemoRun) -> None:
    document = demo.document
    assert document["verdicts"] == {
        "subject-adapter": "EXACT",
        "closed-form-head": "EXACT",
        "cohort-lora": "EXACT",
    }
    assert document["energy_model"]["name"] == "180nm-1t1r"
    assert document["energy_model"]["version"]
    assert 0 < document["seconds_to_suppress"] < document["seconds_to_verify"]


def test_flwr_ls_lists_trainings_and_replay(demo: DemoRun) -> None:
    jobs = demo.document["learning_jobs"]
    assert [job["type"] for job in jobs] == ["train.cohort", "replay.cohort", "train.cohort"]
    assert {job["state"] for job in jobs} == {"succeeded"}
    listed = {run["run_id"]: run["status"] for run in demo.document["flower_runs"]}
    for job in jobs:
        assert listed[job["flower_run_id"]] == "finished:completed"
    assert jobs[1]["campaign_id"] == demo.document["campaign_id"]


@pytest.mark.parametrize("number", range(len(NODES)), ids=NODES)
def test_a_newcomer_is_learnt_and_nobody_is_lost(demo: DemoRun, number: int) -> None:
    node = demo.document["nodes"][number]
    assert node["newcomer_accuracy"] >= LEAST_RETAIN_ACCURACY
    assert node["retain_accuracy_with_newcomer"] >= LEAST_RETAIN_ACCURACY


def test_prometheus_text_of_coordinator_and_nodes_parses_and_moves(demo: DemoRun) -> None:
    # The demo reads them by prometheus_client.parser and fails if that cannot.
    moved = demo.document["metrics"]
    assert set(moved) == {"coordinator", *NODES}
    assert all(values == {"before": 0, "after": 1} for values in moved.values())


def test_killed_node_answered_by_its_backbone_alone_until_it_had_caught_up(demo: DemoRun) -> None:
    outage = demo.document["outage"]
    assert set(outage["suppressed_meanwhile_by"]) == set(NODES) - {outage["node_id"]}
    answers = outage["answers_after_restart"]
    behind = [answer for answer in answers if answer["generation"] < demo.document["generation"]]
    assert behind
    assert all(answer["backbone_only"] and answer["named"] == 0 for answer in behind)
    assert not any(answer["named_forgotten"] for answer in answers)
    assert not answers[-1]["backbone_only"]


def test_nothing_that_the_demo_started_is_left(demo: DemoRun) -> None:
    # Coordinator, SuperLink, nodes and their SuperNodes, each under a reaper.
    assert len(demo.started) >= 2 * (2 + 2 * len(NODES))
    assert [process for process in demo.started if process.is_running()] == []
    assert list(demo.folder.glob("reram-fleet-demo-*")) == []
