"""SIGKILL of the SuperLink in the middle of a learning job."""

from __future__ import annotations

import pytest
from reram_fleet.v1 import types_pb2 as types

from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS
from fleet.domain.learning import JobState
from tests.faults.learning_fleet.story import ROUNDS, Story

pytestmark = pytest.mark.slow


def test_job_whose_superlink_was_killed_is_tried_again_and_ends_once(story: Story) -> None:
    job = story.trained
    assert (job.state, job.rounds_done) == (JobState.SUCCEEDED, ROUNDS)
    assert job.attempt >= 2
    # Only one of its Flower runs came to its end, and it became one revision.
    assert story.runs_after_training.count("finished:completed") == 1
    assert len(story.runs_after_training) == job.attempt
    assert all(status.startswith("finished") for status in story.runs_after_training)
    assert job.revision == story.revision_before + 1
    assert [j.job_id for j in story.rig.client.list_learning() if j.kind == job.kind] == [job.job_id]


def test_what_a_killed_superlink_had_started_ends_with_it(story: Story) -> None:
    # Flower starts the ServerApp in a process group of its own: without the reaper it outlives the SuperLink.
    assert any("flwr-serverapp" in command for command in story.superlink_family)
    assert story.outlived == ()


def test_lora_of_a_job_that_was_tried_again_is_repaired_by_a_later_forget(story: Story) -> None:
    forget, rig = story.forget, story.rig
    repair = rig.client.get_learning(forget.repair_job_id)
    assert (repair.kind, repair.state) == (types.LEARNING_KIND_UNLEARN_LORA, JobState.SUCCEEDED)
    assert forget.state == CampaignState.CONVERGED
    assert {e.node_id for e in rig.client.list_executions(forget.campaign_id).items} == {"node-1", "node-2"}
    assert {count.state for count in forget.counts} <= SUCCESS
    assert {v.adapter_kind: verdict_name(v.verdict) for v in forget.verdicts} == {
        "subject-adapter": "EXACT",
        "closed-form-head": "EXACT",
        "shared-lora": "APPROXIMATE",
    }
    for node in range(2):
        assert story.forgotten not in rig.names(node, 1)
        assert rig.names(node, 0) == {story.kept}
