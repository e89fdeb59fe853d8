"""The face workloads on made-up faces: what they measure is computed as it says, and a forget is exact."""

import numpy as np
import pytest
import torch

from edge_node.tasks import faces as faces_task
from edge_node.tasks.faces import OLIVETTI
from tests.bench.workloads import exact_forgets, faces, fleet_cohorts, open_set_faces
from tests.bench.workloads.face_baselines import BASELINES, PixelSplit, nearest_neighbour
from tests.bench.workloads.face_fleet import face_fleet
from tests.bench.workloads.faces import OpenSetRates
from tests.bench.workloads.head_answers import HeadAnswer
from tests.made_up_photos import made_up_photos

NODES = 3
SEED = 9


@pytest.fixture(scope="module")
def made_up():
    photos = made_up_photos()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces_task, "_photos", lambda folder: photos)
        yield


@pytest.fixture(scope="module")
def fleet(made_up):
    return face_fleet(SEED, nodes=NODES)


def test_each_training_photo_is_taken_once_on_one_to_three_nodes(fleet):
    assert len(fleet.enrolled) == 20
    assert {len(where) for where in fleet.places.values()} == {1, 2, 3}
    for name in fleet.enrolled:
        taken = fleet.captured(name)
        assert set(taken) == set(fleet.places[name])
        assert sum(len(codes) for codes in taken.values()) == 5


def test_a_perfect_fleet_has_the_same_chip_everywhere_and_the_same_places(fleet):
    perfect = face_fleet(SEED, nodes=2, perfect=True)
    name = fleet.enrolled[0]

    assert torch.equal(perfect.test[name][0], perfect.test[name][1])
    assert not torch.equal(fleet.test[name][0], fleet.test[name][1])


def test_forgetting_costs_less_than_training_again_and_is_exact(fleet):
    fleet.activate()
    name = exact_forgets.forget_order(SEED, fleet.enrolled)[0]
    kept = [other for other in fleet.enrolled if other != name]

    after, digest, spent = exact_forgets.forget(fleet, list(fleet.packed(kept)), name)
    reference, retrained = exact_forgets.retrain(fleet, kept)

    assert after.equals(reference)
    assert digest == reference.build().digest()
    assert name not in {a.subject_tag for a in fleet.engine.active_subjects(0)}
    assert 0 < spent.energy_j < retrained.energy_j
    assert spent.sent_bytes < retrained.sent_bytes


def test_a_sequence_of_forgets_is_exact_each_time(made_up):
    lines = exact_forgets.run(SEED, forgets=2, nodes=2)

    assert len(lines) == 2
    assert all(line.exact for line in lines)


def test_a_forget_that_leaves_something_is_not_called_exact(made_up, monkeypatch):
    honest = exact_forgets.forget

    def forgetful(fleet, packed, name):
        _, digest, spent = honest(fleet, packed, name)
        return fleet.statistics(), digest, spent

    monkeypatch.setattr(exact_forgets, "forget", forgetful)

    assert not exact_forgets.run(SEED, forgets=1, nodes=2)[0].exact


def test_digest_after_a_forget_is_that_of_a_fleet_that_never_knew_the_person(made_up):
    after, never = exact_forgets.digest_after_a_forget(SEED).split()

    assert after == never


def test_forget_order_is_everybody_once_and_the_seeds():
    names = [f"f{k}" for k in range(20)]

    assert sorted(exact_forgets.forget_order(1, names)) == sorted(names)
    assert exact_forgets.forget_order(1, names) != exact_forgets.forget_order(2, names)


def test_measured_rates_of_made_up_faces_are_plausible(made_up):
    run = faces.run(SEED, nodes=2)

    assert run.features == 1000
    assert run.head_accuracy > 0.9
    assert abs(run.head_accuracy - run.head_accuracy_perfect) < 0.1
    assert run.head.auroc > 0.9
    assert run.subject_accuracy > 0.8
    assert run.newcomer_accuracy > 0.5
    assert run.head_bytes == 4 * 1000 * 20
    assert run.node_share_bytes > 2 * 1000 * 1001


def test_open_set_is_measured_of_heads_nodes_and_baselines(made_up):
    run = open_set_faces.run(SEED, OLIVETTI, nodes=2)

    assert min(run.head.accuracy, run.raw_head.accuracy, run.node.accuracy) > 0.9
    assert min(run.head.rates.auroc, run.node.rates.auroc) > 0.9
    assert run.head.rates != run.raw_head.rates
    assert set(run.baselines) == set(BASELINES)
    assert all(0.5 < plain.accuracy <= 1 for plain in run.baselines.values())


def test_baselines_learn_from_five_photos_of_the_enrolled_and_all_of_public_people(made_up):
    pixels, split = PixelSplit.of(OLIVETTI, SEED), OLIVETTI.split(SEED)

    assert pixels.names == tuple(sorted(split.enrolled))
    assert np.bincount(pixels.person[pixels.person >= 0]).tolist() == [5] * 20
    assert np.bincount(-pixels.person[pixels.person < 0]).tolist() == [0] + [10] * 10
    assert (pixels.asked.shape, pixels.strangers.shape) == ((100, 1024), (100, 1024))
    assert abs(pixels.asked.mean(axis=1)).max() < 1e-12
    # A photo that was learnt from is nearest to itself.
    scores = nearest_neighbour(pixels)(pixels.taught[:100])
    assert scores.argmax(axis=1).tolist() == pixels.person[:100].tolist()
    assert scores.max(axis=1) == pytest.approx(1)


def test_fleet_of_four_shards_forgets_exactly_and_loses_little(made_up):
    run = fleet_cohorts.run(SEED, nodes=2, forgets=1)

    assert run.exact == 1
    assert 0 < run.share_of_retrain < 0.5
    assert run.four_shards.known_accepted > run.closed_form.known_accepted
    assert run.four_shards.accuracy > run.one_shard.accuracy - 0.05


def test_rates_are_counted_at_the_threshold_given():
    known, strangers = (HeadAnswer((), torch.arange(low, low + 100.0)) for low in (0, -50))

    rates = OpenSetRates.of(known, strangers, threshold=10)

    assert rates.false_rejects == pytest.approx(0.10)
    assert rates.false_accepts == pytest.approx(0.40)
    assert rates.false_accepts_at_5_percent == pytest.approx(0.45)
    # Of 10,000 pairs, 50 x 49 / 2 are the wrong way round, and 50 are ties, which count half.
    assert rates.auroc == pytest.approx(1 - (50 * 49 / 2 + 50 / 2) / 10_000)
