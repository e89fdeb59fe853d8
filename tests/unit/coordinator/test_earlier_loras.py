"""LoRA of an earlier version, at 2^-16 and beyond int16: nodes keep it, and whatever follows starts there."""

from __future__ import annotations

import pytest
from reram_fleet.cohorts import fleet_seed, shard_of
from reram_fleet.crypto.sealing import seal_symmetric, state_purpose
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.shared_lora import MAX_CODE, SCALE_BITS

from fleet.coordinator.learning.lora_state import installable
from fleet.learning.errors import StateError
from fleet.learning.sealed_states import open_state
from tests.unit.coordinator.small_fleet import ANN, BOB, PEOPLE, newest, run_job, start_job

#: At 2^-16; beyond +-2 what is learnt saturates, and did.
CODES = [200_000, -200_000, 6, 2, -90_000, *[0] * 11]
#: The same at 2^-14, half to even.
TODAY = [MAX_CODE, -MAX_CODE, 2, 0, -22_500, *[0] * 11]


@pytest.fixture
def coordinator(open_coordinator):
    return open_coordinator(learning=True)


@pytest.fixture
def earlier(coordinator, nodes):
    """LoRA of everybody as an earlier version has left it in database and journals."""
    with coordinator.transaction() as unit:
        shape = unit.revisions.shape()
        shape.scale_bits = 16
        lora = types.SharedLora(shape=shape, rows=[types.LoraRow(subject_tag=tag, codes=CODES) for tag in PEOPLE])
        unit.revisions.build(lora)
    coordinator.converse(*nodes)
    return lora


def codes_by_tag(lora):
    return {row.subject_tag: list(row.codes) for row in lora.rows}


def keep(state):
    """Learn nothing."""


def test_node_keeps_it_over_a_restart(nodes, earlier):
    assert nodes[0].lora == earlier
    nodes[0].restart()
    assert nodes[0].lora == earlier


def test_revision_without_somebody_forgotten_keeps_the_others_rows(coordinator, nodes, earlier):
    coordinator.forget("r", ANN)
    coordinator.converse(*nodes)
    assert codes_by_tag(newest(coordinator).shared_lora) == {tag: CODES for tag in PEOPLE if tag != ANN}
    assert codes_by_tag(nodes[1].lora) == {tag: CODES for tag in PEOPLE if tag != ANN}


def test_training_starts_from_it_and_ends_in_todays_form(coordinator, nodes, earlier):
    run_job(coordinator, start_job(coordinator, "again"), keep)
    coordinator.converse(*nodes)
    assert newest(coordinator).shared_lora.shape.scale_bits == SCALE_BITS
    assert codes_by_tag(nodes[0].lora) == dict.fromkeys(PEOPLE, TODAY)


def test_repair_starts_from_it(coordinator, nodes, earlier):
    campaign, _ = coordinator.forget("r", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        job_id = unit.tx.forgets.get(campaign.campaign_id).repair_job_id
        attempt = unit.tx.learning.next_attempt(job_id).attempt
    with coordinator.transaction() as unit:
        given = unit.rounds.describe(job_id, attempt)
        start = installable(open_state(job_id, given.job_key, given.sealed_state), unit.revisions.shape())
    assert codes_by_tag(start) == {tag: TODAY for tag in PEOPLE if tag != ANN}


def test_shard_that_is_trained_anew_leaves_the_other_shards_as_they_were(coordinator, nodes, earlier):
    with coordinator.transaction() as unit:
        # As many as it takes to tear people apart: the shard of a tag depends on the fleet's id.
        seed = fleet_seed(unit.tx.fleet.get().fleet_id)
        unit.tx.cohorts.create(next(n for n in range(2, 256) if len({shard_of(tag, seed, n) for tag in PEOPLE}) > 1))
        shards = {tag: unit.cohorts.shard_in(tag) for tag in PEOPLE}
        shape, ours = unit.revisions.shape(), [tag for tag in PEOPLE if shards[tag] == shards[BOB]]
        assert codes_by_tag(unit.cohorts.rows_of(shards[BOB])) == dict.fromkeys(ours, TODAY)
        rows = [types.LoraRow(subject_tag=tag, codes=[5] * 16) for tag in ours]
        unit.cohorts.install(shards[BOB], types.SharedLora(shape=shape, rows=rows))
    expected = {tag: [5] * 16 if tag in ours else TODAY for tag in PEOPLE}
    assert codes_by_tag(newest(coordinator).shared_lora) == expected
    assert TODAY in expected.values()


def test_state_of_a_job_that_an_earlier_version_has_begun_does_not_open():
    # Numerators and weights, which were fields 3 and 4.
    state = types.LoraState(subject_tags=[ANN], rank=16).SerializeToString() + b"\x1a\x40" + bytes(64) + b"\x22\0"
    key = bytes(32)
    with pytest.raises(StateError, match=r"rows of a LoRA state \(1 x 16\) have 32 bytes; got 0"):
        open_state("j", key, seal_symmetric(key, state_purpose("j"), state))
