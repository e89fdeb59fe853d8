"""The paper's protocol for faces and speakers, on made-up people."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from torch.nn import functional

from edge_node.errors import AdapterError, EngineError
from fleet.lab.paper import classifier, faces, speakers
from fleet.lab.paper.arms import CLASSES, KNOWN, NEWCOMER, Arm, Hardware, silent
from fleet.lab.paper.classifier import ForgettingObjective, run_arm, run_both_arms, train_backbone
from fleet.lab.paper.methods import Descent, RandomLabel
from fleet.lab.paper.networks import FaceMixer, SpikingLsm
from fleet.lab.paper.stacked_lora import StackedNetwork
from hwmodel import program

FORGOTTEN = 2
QUICK = dataclasses.replace(faces.RECIPE, epochs=30, continual=Descent(steps=2, learning_rate=0.01))


@pytest.fixture(scope="module")
def photos():
    """Ten made-up photos of each of six people: a coarse pattern of the person's, and some of the photo's."""
    draws = torch.Generator().manual_seed(5)
    patterns = torch.randn(CLASSES, 1, 4, 4, generator=draws) + 0.3 * torch.randn(CLASSES, 10, 4, 4, generator=draws)
    return functional.interpolate(patterns, (16, 16), mode="nearest")


@pytest.fixture(scope="module")
def people(photos):
    """The honest arm, with every fifteenth view only: seconds instead of minutes."""
    whole = faces.divided(photos, Arm.HONEST, 1)
    return dataclasses.replace(
        whole, **{f: getattr(whole, f)[::15] for f in (n.name for n in dataclasses.fields(whole))}
    )


@pytest.fixture(scope="module")
def backbone(people):
    return train_backbone(QUICK, people, 1, silent)


@pytest.fixture
def network(backbone, people):
    chips = program(backbone, "180nm-1t1r", 1, nodes=["a", "b"], calibration=people.train[::5])
    return StackedNetwork(chips)


def random_adapter(network, shape, seed):
    draws = torch.Generator().manual_seed(seed)
    return tuple(0.3 * torch.randn(part.shape, generator=draws) for part in network.start(shape, 1))


def test_published_split_tests_on_photos_that_were_learnt_from_and_the_honest_one_does_not(photos):
    published, honest = (faces.divided(photos, arm, 1) for arm in (Arm.PUBLISHED, Arm.HONEST))

    assert published.leaked == 1.0
    assert honest.leaked == 0.0
    assert len(published.test) == len(honest.test) == CLASSES * faces.HELD_OUT_PHOTOS * faces.VIEWS
    held_out = {label: set() for label in range(CLASSES)}
    for label, source in zip(honest.test_labels.tolist(), honest.test_sources.tolist(), strict=True):
        held_out[label].add(source)
    assert [len(sources) for sources in held_out.values()] == [faces.HELD_OUT_PHOTOS] * CLASSES


def test_both_splits_divide_the_same_views(photos):
    def views(arm):
        people = faces.divided(photos, arm, 1)
        return torch.cat([people.train, people.test])[:, 0, 0].sort().values

    assert torch.equal(views(Arm.PUBLISHED), views(Arm.HONEST))


def test_views_are_a_function_of_the_seed(photos):
    flat = photos.flatten(0, 1)
    assert torch.equal(faces.views_of(flat, 3), faces.views_of(flat, 3))
    assert not torch.equal(faces.views_of(flat, 3), faces.views_of(flat, 4))


def test_lora_has_the_papers_number_of_parameters(network):
    parameters = sum(part[0].numel() for part in network.start(faces.RECIPE.forgetting, 1))
    assert parameters == 1404


def test_fresh_lora_changes_nothing_and_an_installed_one_does(network, people):
    shape = faces.RECIPE.forgetting
    bare = network.logits(people.test)

    with network.training(shape, network.start(shape, 1)):
        assert torch.equal(network.logits(people.test), bare)
    network.install(shape, random_adapter(network, shape, 1))

    assert not torch.equal(network.logits(people.test), bare)


def test_strip_test_takes_the_adapter_off_every_node_and_puts_it_back(network, people):
    shape = faces.RECIPE.forgetting
    bare = network.logits(people.test)
    network.install(shape, random_adapter(network, shape, 1))
    active = network.logits(people.test)

    with network.stripped(shape.name):
        assert torch.equal(network.logits(people.test), bare)

    assert torch.equal(network.logits(people.test), active)


def test_strip_test_of_nothing_is_refused(network):
    with pytest.raises(AdapterError, match="no adapter forget to strip"), network.stripped("forget"):
        pass


def test_second_lora_trains_on_top_of_the_first_and_leaves_it(network, people):
    first, second = faces.RECIPE.forgetting, faces.RECIPE.learning
    network.install(first, random_adapter(network, first, 1))
    alone = network.logits(people.test)
    trained = random_adapter(network, second, 2)

    with network.training(second, trained):
        together = network.logits(people.test)
    assert torch.equal(network.logits(people.test), alone)
    assert not torch.equal(together, alone)
    network.install(second, trained)

    torch.testing.assert_close(network.logits(people.test), together, rtol=1e-2, atol=1e-2)


def test_ascent_is_the_papers_class_weighted_loss(network, people):
    shape, kept = faces.RECIPE.forgetting, [0, 1, 3, 4]
    mine, mine_labels = people.training(FORGOTTEN)
    others, labels = people.training(*kept)
    assert len(mine) * len(kept) == len(others)
    objective = ForgettingObjective(network, shape, (others, labels), mine, FORGOTTEN)
    start = random_adapter(network, shape, 1)

    with network.training(shape, start):
        scores = network.logits(torch.cat([mine, others]))[0]
    weights = torch.tensor([1, 1, -0.5, 1, 1, 1])
    papers = functional.cross_entropy(scores, torch.cat([mine_labels, labels]), weight=weights)
    ours = objective.retained_loss(start) - faces.RECIPE.method.weight * objective.forgotten_loss(start).mean(1)

    # The paper's mean is over weights, 3.5 for five classes of one size; ours over the four that are kept.
    torch.testing.assert_close(papers * 3.5 / 4, ours[0])


def test_temperature_divides_the_scores_in_every_loss_that_forgets(network, people):
    shape = faces.RECIPE.forgetting
    (mine, _), (others, labels) = people.training(FORGOTTEN), people.training(0, 1, 3, 4)
    objective = ForgettingObjective(network, shape, (others, labels), mine, FORGOTTEN, temperature=4.0)
    start = random_adapter(network, shape, 1)

    with network.training(shape, start):
        scores, kept = network.logits(mine)[0] / 4, network.logits(others)[0] / 4

    own = torch.full((len(mine),), FORGOTTEN)
    torch.testing.assert_close(
        objective.forgotten_loss(start)[0], functional.cross_entropy(scores, own, reduction="none")
    )
    torch.testing.assert_close(objective.retained_loss(start)[0], functional.cross_entropy(kept, labels))


def test_person_who_is_recognised_for_certain_has_a_gradient_to_ascend_at_a_temperature(network, people):
    shape = faces.RECIPE.forgetting
    mine, _ = people.training(FORGOTTEN)
    # The backbone of this test is not trained for long: certainty is made by larger output weights.
    network.chips.analog["readout"].crossbar.scale *= 8

    def slope(temperature):
        objective = ForgettingObjective(
            network, shape, people.training(0, 1, 3, 4), mine, FORGOTTEN, temperature=temperature
        )
        start = tuple(part.requires_grad_() for part in network.start(shape, 1))
        gradients = torch.autograd.grad(objective.forgotten_loss(start).sum(), start)
        return sum(float(part.square().sum()) for part in gradients) ** 0.5

    assert slope(4.0) > 10 * slope(1.0)


def test_nats_are_told_at_temperature_one(people, backbone):
    def nats(temperature):
        recipe = dataclasses.replace(QUICK, temperature=temperature)
        return run_arm(recipe, people, backbone, FORGOTTEN, 1, Hardware.NOISE_FREE, silent).loss_before

    assert nats(4.0) == nats(1.0)


def test_protocol_without_public_people_refuses_a_method_that_needs_them(network, people):
    objective = ForgettingObjective(network, faces.RECIPE.forgetting, people.training(0), people.training(1)[0], 1)
    with pytest.raises(EngineError, match="no public people"):
        objective.public_loss(network.start(faces.RECIPE.forgetting, 1))


@pytest.fixture(scope="module", params=list(Hardware))
def arm(request, people, backbone):
    return run_arm(QUICK, people, backbone, FORGOTTEN, 1, request.param, silent)


def test_person_is_forgotten_and_comes_back_when_the_adapter_is_stripped(arm):
    assert arm.base >= 0.9
    assert arm.known >= 0.9
    assert arm.forgotten_train == arm.forgotten == 1.0
    assert arm.stripped == arm.known
    assert arm.loss > 2 > arm.loss_before


def test_others_are_kept_and_no_cell_is_written(arm):
    assert arm.retained >= 0.8
    assert arm.cell_writes == 0
    assert all(isinstance(value, float | int) for value in dataclasses.asdict(arm).values())


def made_up_voices():
    """Six people whose signals lie at levels of their own; the last two of ten recordings are held out."""
    draws = torch.Generator().manual_seed(6)
    labels = torch.arange(CLASSES).repeat_interleave(10)
    offsets = torch.randn(CLASSES, 1, 70, generator=draws)
    signals = offsets[labels] + 0.3 * torch.randn(len(labels), 10, 70, generator=draws)
    held_out = (torch.arange(len(labels)) % 10) >= 8
    return speakers.Voices("made up", signals.double().numpy(), labels, held_out)


def test_honest_speakers_are_tested_on_what_is_held_out_and_published_ones_on_any():
    voices = made_up_voices()
    published, honest = (speakers.divided(voices, arm, 1) for arm in (Arm.PUBLISHED, Arm.HONEST))

    assert published.leaked == honest.leaked == 0.0
    assert torch.equal(honest.test_sources, voices.held_out.nonzero()[:, 0])
    assert len(published.test) == len(honest.test)
    assert bool(voices.held_out[published.train_sources].any())
    assert set(honest.train.unique().tolist()) == {0.0, 1.0}
    assert honest.train.shape[1:] == (10, 140)


def test_division_that_leaves_a_person_untested_is_refused():
    whole = speakers.divided(made_up_voices(), Arm.HONEST, 1)
    others = whole.test_labels != 4

    with pytest.raises(EngineError, match=r"people \[4\] have no inputs to test on"):
        dataclasses.replace(
            whole,
            test=whole.test[others],
            test_labels=whole.test_labels[others],
            test_sources=whole.test_sources[others],
        )


def test_speaker_is_forgotten_by_random_labels_and_comes_back_when_stripped():
    recipe = dataclasses.replace(
        speakers.RECIPE,
        make=partial(SpikingLsm, neurons=32),
        epochs=6,
        batch=8,
        learning_rate=1e-2,
        method=RandomLabel(descent=Descent(steps=50, learning_rate=0.05, falling=False)),
        continual=Descent(steps=1, learning_rate=0.01),
    )
    people = speakers.divided(made_up_voices(), Arm.HONEST, 1)
    network = train_backbone(recipe, people, 1, silent)

    arm = run_arm(recipe, people, network, FORGOTTEN, 1, Hardware.NOISE_FREE, silent)

    assert arm.known == arm.stripped == 1.0
    assert arm.forgotten_train == 1.0


def test_run_has_a_backbone_for_each_arm_and_each_on_both_kinds_of_hardware(monkeypatch):
    told, ran = [], []

    def trained(recipe, people, seed, progress):
        progress("training")
        return f"network of {people}"

    def run(recipe, people, network, forgotten, seed, hardware, progress):
        progress("forgetting")
        ran.append((people, network, forgotten))
        return (people, hardware)

    monkeypatch.setattr(classifier, "train_backbone", trained)
    monkeypatch.setattr(classifier, "run_arm", run)

    figures = run_both_arms(faces.RECIPE, "made up", lambda arm: arm.value, KNOWN + 2, told.append)

    assert figures.data == "made up"
    assert figures.forgotten == 2
    assert figures.published == (Arm.PUBLISHED.value, Hardware.CHIP)
    assert figures.honest == (Arm.HONEST.value, Hardware.CHIP)
    assert figures.published_noise_free == (Arm.PUBLISHED.value, Hardware.NOISE_FREE)
    assert figures.honest_noise_free == (Arm.HONEST.value, Hardware.NOISE_FREE)
    assert set(ran) == {(arm.value, f"network of {arm.value}", 2) for arm in Arm}
    assert told[:2] == ["as published: training", "as published, chip: forgetting"]


def test_vowels_stand_in_where_fsdd_is_not_here(monkeypatch):
    monkeypatch.delenv("RERAM_FLEET_FSDD", raising=False)
    monkeypatch.delenv("RERAM_FLEET_DATA", raising=False)
    voices = speakers.vowel_voices(1)

    assert not speakers.fsdd.recordings_available()
    assert voices.signals.shape[1:] == (10, 14)
    assert set(voices.labels.tolist()) == set(range(CLASSES))
    assert voices.labels[~voices.held_out].bincount().tolist() == [30] * CLASSES
    assert int(voices.labels.max()) == NEWCOMER
    assert "JapaneseVowels" in voices.title
    assert isinstance(faces.RECIPE.make(CLASSES), FaceMixer)
