"""Erasers on real chips: trained in rounds, masks that leave everything else as it was, and refused where they must."""

from __future__ import annotations

import pytest
import torch
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    Eraser,
    JobTicket,
    LoraShape,
)
from reram_fleet.wire.concepts import ERASER_SCALE_BITS, concept_tag
from reram_fleet.wire.lora_states import StateArrays

from edge_node.errors import AdapterError, EngineError, RoundError
from edge_node.generation.class_codes import MAX_CODE, SCALE_BITS, ClassLayout
from edge_node.generation.dit import NULL_LABEL, NULL_STYLE
from edge_node.generation.engine import GenerationEngine
from edge_node.generation.eraser import EraserRecipe, _prompts
from edge_node.generation.eraser_rounds import EraserRequest, EraserTrainer, concept_named, concepts_of
from edge_node.generation.generator import LABELS, Generator
from edge_node.generation.image_generator import ImageGenerator
from edge_node.generation.training import BackboneRecipe, train_backbone
from edge_node.tasks.images import IMAGES_BRIEF
from hwmodel import EnergyLedger, Phase, keyed_generator, load_preset

TASK = IMAGES_BRIEF
NIGHT = "style:night"
TAG = concept_tag(NIGHT)


@pytest.fixture(scope="module")
def public():
    return TASK.images(TASK.public, test=False)


@pytest.fixture(scope="module")
def backbone(public):
    return train_backbone(public, 50, BackboneRecipe(steps=20, hardening_steps=0, batch=8, warm_up=5, ema=0.9))


@pytest.fixture(scope="module")
def chip(backbone, public):
    return Generator.program(backbone, load_preset("180nm-1t1r"), 50, ["node-1"], examples=public)


@pytest.fixture(scope="module")
def trainer(backbone):
    subject = TASK.recipe.subject
    return EraserTrainer(TASK, ClassLayout(backbone.base, TASK.seed, subject.rank, subject.alpha), 50)


def request(trainer, kind=LEARNING_KIND_UNLEARN_LORA, concept=NIGHT, value=0.0, number=1, beside=()):
    ticket = JobTicket(node_id="node-1", round=number, kind=kind, concept=concept, forget_tags=[concept_tag(concept)])
    state = StateArrays.empty(ticket.forget_tags, LoraShape(rank=trainer.layout.length))
    state.rows[:] = value * 2**ERASER_SCALE_BITS
    return EraserRequest(ticket, state.encode(), tuple(beside))


def factors(result):
    return torch.from_numpy(StateArrays.decode(result.state).rows) * 2.0**-ERASER_SCALE_BITS


def test_round_trains_the_blocks_and_leaves_the_label_table(trainer, chip):
    result = trainer.run(chip, request(trainer))

    parts = dict(trainer.layout.split(factors(result)))
    assert not parts.pop(LABELS).any()
    assert all(part.any() for part in parts.values())
    assert result.costs[Phase.TRAIN].energy_j > 0
    assert result.costs[Phase.TRAIN].cell_writes == 0


def test_same_round_on_the_same_chip_gives_the_same_bits(trainer, chip):
    first, second = (trainer.run(chip, request(trainer)).state.rows for _ in range(2))

    assert first == second
    assert trainer.run(chip, request(trainer, number=2)).state.rows != first


def test_last_round_looks_and_changes_nothing(trainer, chip):
    result = trainer.run(chip, request(trainer, LEARNING_KIND_EVALUATE_QUALITY, value=0.25))

    assert set(result.metrics) == {"eraser_shows", "eraser_stripped", "eraser_open", "eraser_others"}
    assert all(0 <= value <= 1 for value in result.metrics.values())
    assert bool((factors(result) == 0.25).all())
    assert result.costs[Phase.VERIFY].energy_j > 0


def test_round_of_another_kind_or_of_what_the_backbone_does_not_know_is_refused(trainer, chip):
    with pytest.raises(RoundError, match="no rounds of learning kind"):
        trainer.run(chip, request(trainer, LEARNING_KIND_TRAIN_LORA))
    with pytest.raises(EngineError, match="the backbone knows no"):
        trainer.run(chip, request(trainer, concept=f"thing:{TASK.split.enrolled[0]}"))


@pytest.mark.parametrize("name", [NIGHT, f"thing:{TASK.split.public[0]}"])
def test_concept_or_nothing_is_asked_for_where_something_else_is_meant(public, name):
    concept = concept_named(name, TASK)
    kept = public.where(concept.of(public) != concept.number)
    asked, meant = _prompts(concept, kept, EraserRecipe(), keyed_generator(1, "test"))

    halves = (asked % (NULL_STYLE + 1), meant % (NULL_STYLE + 1), asked // (NULL_STYLE + 1), meant // (NULL_STYLE + 1))
    mine, mine_meant, others, others_meant = halves if concept.is_style else (*halves[2:], *halves[:2])
    assert torch.equal(others, others_meant)
    assert not bool((mine_meant == concept.number).any())
    share = (mine == concept.number).double().mean()
    assert 0.4 < share < 0.6
    assert bool((mine == (NULL_STYLE if concept.is_style else NULL_LABEL)).any())


def test_public_things_and_styles_are_concepts_and_private_things_are_not():
    assert set(concepts_of(TASK)) == {f"style:{s}" for s in TASK.styles} | {f"thing:{t}" for t in TASK.split.public}


def test_codes_have_the_scale_that_the_coordinator_rounds_to():
    assert SCALE_BITS == ERASER_SCALE_BITS


def test_eraser_changes_what_is_drawn_and_taking_it_off_brings_all_back(backbone, public):
    def chip():
        return Generator.program(backbone, load_preset("180nm-1t1r"), 50, ["node-1"], examples=public)

    generator = ImageGenerator(TASK, 50, chip)
    eraser = Eraser(concept=NIGHT, codes=[300] * generator.features)
    name = TASK.split.public[0]

    bare, masked, stripped = (
        generator.generate_class(name, "flat", 2, 1, erasers).levels for erasers in ((), (eraser,), ())
    )

    assert (bare != masked).any()
    assert (bare == stripped).all()


def test_engine_takes_erasers_that_fit_and_no_others():
    engine = GenerationEngine(
        ["node-1"],
        load_preset("180nm-1t1r"),
        features=3,
        cell_writes=torch.tensor([1]),
        wear=torch.zeros(1),
        ledger=EnergyLedger(1),
    )
    good = Eraser(concept=NIGHT, codes=[1, 2, 3])
    engine.set_erasers(0, [good])

    for bad in ([good, good], [Eraser(concept=NIGHT, codes=[1])], [Eraser(concept=NIGHT, codes=[0, 0, MAX_CODE + 1])]):
        with pytest.raises(AdapterError):
            engine.set_erasers(0, bad)

    assert list(engine.active_erasers(0)) == [good]
    engine.set_erasers(0, [])
    assert list(engine.active_erasers(0)) == []
