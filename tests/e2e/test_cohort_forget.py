"""A fleet of real processes trains a cohort, forgets one of three, and trains the others again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_COHORT

from fleet.client import FleetClient
from fleet.domain.campaign import CampaignState
from fleet.domain.learning import JobState
from fleet.lab.demo.enrolment import enrol, wait_active_everywhere
from fleet.lab.demo.people import load_demo_people
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalFleet, LocalSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    with LocalFleet(LocalSettings(tmp_path / "fleet", nodes=2, lease_s=60.0)) as fleet:
        fleet.start()
        yield fleet


def test_shard_is_replayed_by_flower_and_repeats_to_the_bit(fleet: LocalFleet) -> None:
    people = load_demo_people().enrolled[:3]
    tags, _ = enrol(fleet, people)
    wait_active_everywhere(fleet, frozenset(tags.values()), Deadline.of(60.0))
    forgotten, *left = tags.values()
    with fleet.client() as client:
        client.start_learning("train", LEARNING_KIND_TRAIN_COHORT, 1, shards=1)
        until(lambda: [job.state for job in client.list_learning()] == [JobState.SUCCEEDED])
        before = shard(client).digest

        campaign = client.create_forget("forget", [forgotten]).forget.campaign_id
        until(lambda: client.get_forget(campaign).state == CampaignState.CONVERGED)
        until(lambda: not shard(client).HasField("replay_from"))

        after = shard(client)
        assert {member.subject_tag for member in after.members} == set(left)
        assert after.digest not in (before, b"")
        verdicts = {v.adapter_kind: v for v in client.get_forget(campaign).verdicts}
        assert verdicts["cohort-lora"].verdict == operator.VERDICT_CLASS_EXACT
        assert after.digest.hex() in verdicts["cohort-lora"].basis

        client.audit_cohort(0)
        until(lambda: shard(client).audit.state != "running")
        assert shard(client).audit.state == "reproduced"


def shard(client: FleetClient) -> operator.CohortShard:
    return client.get_cohorts().cohorts[0]


def until(holds) -> None:
    Deadline.of(120.0).until("what the fleet is to do", lambda: holds() or None)
