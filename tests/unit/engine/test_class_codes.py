"""A private class as an integer vector: learnt per node, added up over nodes, and drawn by."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from edge_node.errors import AdapterError, EngineError
from edge_node.generation.class_codes import CLASS_LAYERS, MAX_CODE, SCALE_BITS, ClassLayout
from edge_node.generation.class_fit import ClassRecipe, fit_class, free_label
from edge_node.generation.diffusion import from_grey_levels, keyed_noise, noised, on_chips
from edge_node.generation.generator import Generator
from edge_node.generation.training import BackboneRecipe, train_backbone
from edge_node.tasks.images import ImagesTask
from hwmodel import Phase, load_preset

TASK = ImagesTask.of(50)
PUBLIC = TASK.images(TASK.public, test=False)
BACKBONE = BackboneRecipe(steps=30, hardening_steps=0, batch=16, learning_rate=8e-3, warm_up=5, ema=0.9)
RECIPE = ClassRecipe(rank=2, steps=5)
TAG = "7" * 32


@pytest.fixture(scope="module")
def backbone():
    return train_backbone(PUBLIC.levels, PUBLIC.labels, 50, BACKBONE)


@pytest.fixture(scope="module")
def layout(backbone):
    return ClassLayout(backbone.base, TASK.seed, RECIPE.rank, RECIPE.alpha)


def chips_of(backbone, *nodes):
    examples = (PUBLIC.levels, PUBLIC.labels)
    return Generator.program(backbone, load_preset("180nm-1t1r"), 50, nodes, examples=examples)


@pytest.fixture(scope="module")
def attic(backbone):
    return chips_of(backbone, "attic")


def images(label=TASK.private[0], start=0):
    return TASK.images([label], test=False).levels[start : start + 12]


def factors(layout, value):
    return {name: torch.full((1, layout.base.layer(name).outputs, layout.rank), value) for name in CLASS_LAYERS}


def test_vector_is_b_of_every_layer_and_the_label_row(layout):
    # Per block: ada 384, qkv 192, fc1 256, fc2 64, out 64; and 64 of the label row.
    assert layout.length == (3 * 960 + 64) * RECIPE.rank
    assert ClassLayout(layout.base, 1).length == 23_552


def test_codes_come_back_as_factors_to_half_a_step(layout):
    b = {name: 0.3 * torch.randn(2, *factors(layout, 0.0)[name].shape[1:]) for name in CLASS_LAYERS}

    codes = layout.codes(b)

    assert codes.dtype is torch.int32
    for name, _, back in layout.factors(codes.long(), torch.ones(2, dtype=torch.int64)):
        error = (back / layout.scaling - b[name]).abs().max()
        assert float(error) <= 0.5001 * 2.0**-SCALE_BITS


def test_sum_over_nodes_divided_by_their_number_is_the_mean_of_what_they_learnt(layout):
    one, other = layout.codes(factors(layout, 0.5)).long(), layout.codes(factors(layout, -0.25)).long()

    for _, _, b in layout.factors(one + other, torch.tensor([2])):
        assert torch.equal(b, torch.full_like(b, 0.125 * layout.scaling))


def test_a_is_the_same_on_every_node_and_another_for_every_layer(layout, backbone):
    again = ClassLayout(backbone.base, TASK.seed, RECIPE.rank, RECIPE.alpha)

    assert all(torch.equal(layout.frozen(name), again.frozen(name)) for name in CLASS_LAYERS)
    assert not torch.equal(layout.frozen("blocks.0.qkv"), layout.frozen("blocks.1.qkv"))


@pytest.mark.parametrize("value", [float("nan"), (MAX_CODE + 1) * 2.0**-SCALE_BITS])
def test_factors_that_do_not_fit_are_refused(layout, value):
    with pytest.raises(AdapterError, match="16 bits"):
        layout.codes(factors(layout, value))


def test_nodes_of_a_batch_learn_what_they_would_learn_alone(attic, backbone, layout):
    mine, others = images(), images(start=12)[:7]

    together = fit_class(chips_of(backbone, "attic", "cellar"), layout, [mine, others], TAG, 1, RECIPE)

    for index, (chip, levels) in enumerate([(attic, mine), (chips_of(backbone, "cellar"), others)]):
        alone = fit_class(chip, layout, [levels], TAG, 1, RECIPE)
        # Float arithmetic between the crossbars may round otherwise in another batch.
        assert int((alone[0] - together[index]).abs().max()) <= 0.1 * int(together.abs().max())
        assert float((alone[0] == together[index]).double().mean()) > 0.9
    assert not torch.equal(together[0], together[1])


def test_learning_is_a_function_of_chip_tag_and_images(attic, layout):
    def learn(tag=TAG, levels=None):
        return fit_class(attic, layout, [images() if levels is None else levels], tag, 1, RECIPE)

    first = learn()
    assert torch.equal(learn(), first)
    assert not torch.equal(learn(tag="8" * 32), first)
    assert not torch.equal(learn(levels=images(start=12)), first)


def test_what_is_learnt_predicts_the_noise_in_images_of_the_class_better(attic, backbone, layout):
    recipe = ClassRecipe(rank=2, steps=20)
    codes = fit_class(attic, layout, [images()], TAG, 1, recipe)
    steps = torch.arange(60)[None] + 30
    noise = keyed_noise(1, "test", count=60)[None]
    x = noised(from_grey_levels(images().repeat(5, 1, 1))[None], steps, noise)
    asked = torch.full((1, 60), free_label(backbone))

    def loss(corrections):
        with torch.no_grad(), attic.attached(corrections):
            return float(mse_loss(on_chips(attic.chips)(x, steps, asked), noise))

    learnt = {
        name: lambda v, a=a, b=b: v @ a.mT @ b.mT for name, a, b in layout.factors(codes.long(), torch.tensor([1]))
    }
    assert loss(learnt) < 0.98 * loss({})


def test_learning_is_charged_as_training_and_writes_no_cell(attic, layout):
    mark = attic.ledger.mark()

    fit_class(attic, layout, [images()], TAG, 1, RECIPE)

    spent = attic.ledger.since(mark)
    assert spent[Phase.TRAIN].energy_j > 0
    assert spent[Phase.INFER].energy_j == 0
    assert sum(cost.cell_writes for cost in spent.values()) == 0
    assert all(layer.correction is None for layer in attic.chips.analog.values())


def test_node_without_images_and_diverging_training_are_named(attic, layout):
    with pytest.raises(EngineError, match=r"of their own; got \[0\]"):
        fit_class(attic, layout, [images()[:0]], TAG, 1, RECIPE)
    with pytest.raises(EngineError, match="diverged at step"):
        fit_class(attic, layout, [images()], TAG, 1, ClassRecipe(rank=2, steps=5, learning_rate=1e30))


def test_backbone_that_knows_every_class_has_no_row_for_private_ones(backbone):
    everything = TASK.images(range(10), test=False)
    full = train_backbone(everything.levels, everything.labels, 1, BackboneRecipe(1, 0, batch=2))

    assert free_label(backbone) == min(TASK.private)
    with pytest.raises(EngineError, match="no label row is free"):
        free_label(full)
