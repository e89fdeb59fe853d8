import pytest
from reram_fleet.cohorts import fleet_seed, shard_of

from hwmodel import keyed_seed

TAGS = [f"{number:032x}" for number in range(400)]


@pytest.mark.parametrize("seed", [0, 11, fleet_seed("fleet-1")])
def test_coordinator_and_streams_of_the_chip_model_agree_on_a_shard(seed):
    for tag in TAGS[:40]:
        rule = keyed_seed(seed, "cohort.shard", tag) % 4
        assert shard_of(tag, seed, 4) == rule


def test_shards_are_about_equally_full():
    counts = [0] * 4
    for tag in TAGS:
        counts[shard_of(tag, 3, 4)] += 1
    assert min(counts) > 70


def test_fleets_have_seeds_of_their_own_that_fit_a_signed_word():
    assert fleet_seed("fleet-1") != fleet_seed("fleet-2")
    assert 0 <= fleet_seed("fleet-1") < 2**63


def test_no_shard_is_refused():
    with pytest.raises(ValueError, match="at least one shard"):
        shard_of(TAGS[0], 1, 0)
