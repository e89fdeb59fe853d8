"""The fleet of the story drops its LoRA, trains shards instead, forgets one of a cohort, and trains the others again.

Behind the tests of that story, for which the fleet has to be as the story left it.
"""

from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_COHORT

from fleet.client import FleetClient
from fleet.domain.campaign import CampaignState
from fleet.domain.learning import JobState
from fleet.lab.demo.enrolment import enrol, wait_active_everywhere
from fleet.local.deadline import Deadline
from tests.faults.learning_fleet.story import Story
from tests.faults.rig import eventually

pytestmark = pytest.mark.slow


def test_shard_is_replayed_by_flower_and_repeats_to_the_bit(story: Story) -> None:
    rig, client = story.rig, story.rig.client
    tags, _ = enrol(rig.fleet, rig.people.enrolled[2:4])
    wait_active_everywhere(rig.fleet, frozenset(tags.values()), Deadline.of(60.0))
    forgotten, left = tags.values()
    client.drop_lora()
    trained = client.start_learning("train", LEARNING_KIND_TRAIN_COHORT, 1, shards=1).job.job_id
    eventually("shards are trained", lambda: client.get_learning(trained).state == JobState.SUCCEEDED)
    before = shard(client).digest

    campaign = client.create_forget("forget", [forgotten]).forget.campaign_id
    eventually("it converges", lambda: client.get_forget(campaign).state == CampaignState.CONVERGED)
    eventually("it is replayed", lambda: not shard(client).HasField("replay_from"))

    after = shard(client)
    assert {member.subject_tag for member in after.members} == {left, story.kept}
    assert after.digest not in (before, b"")
    verdicts = {v.adapter_kind: v for v in client.get_forget(campaign).verdicts}
    assert verdicts["cohort-lora"].verdict == operator.VERDICT_CLASS_EXACT
    assert after.digest.hex() in verdicts["cohort-lora"].basis

    client.audit_cohort(0)
    eventually("it is audited", lambda: shard(client).audit.state != "running")
    assert shard(client).audit.state == "reproduced"


def shard(client: FleetClient) -> operator.CohortShard:
    return client.get_cohorts().cohorts[0]
