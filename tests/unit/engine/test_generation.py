"""The diffusion transformer on chips: training, sampling, and branches beside its layers."""

import copy
import dataclasses

import pytest
import torch
from safetensors.torch import load
from torch.nn.functional import mse_loss

from edge_node.errors import AdapterError, EngineError
from edge_node.generation.backbone_cache import cached_backbone
from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.diffusion import (
    STEPS,
    Sampling,
    from_colour_levels,
    kept_signal,
    keyed_noise,
    noised,
    on_chips,
    sample,
    to_colour_levels,
)
from edge_node.generation.dit import (
    IMAGE_SHAPE,
    NULL_LABEL,
    NULL_PROMPT,
    NULL_STYLE,
    DiffusionTransformer,
    patches,
    prompts_of,
    unpatched,
)
from edge_node.generation.eraser import EraserRecipe, fit_eraser
from edge_node.generation.eraser_rounds import branches_of, concept_named
from edge_node.generation.generator import Generator
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import BackboneRecipe, frozen_base, train_backbone
from edge_node.recognition.lora.branch import LoraBranch
from edge_node.tasks.images import ImagesTask
from hwmodel import Precision, load_preset

TASK = ImagesTask.of(50)
PUBLIC = TASK.images(TASK.public, test=False)
FIRST = TASK.private[0]
BACKBONE = BackboneRecipe(
    steps=60, hardening_steps=20, batch=16, learning_rate=8e-3, hardening_rate=2e-3, warm_up=5, ema=0.9
)
BRIEF = Sampling(steps=4)
NODES = ("attic", "cellar")


@pytest.fixture(scope="module")
def backbone():
    return train_backbone(PUBLIC, 50, BACKBONE)


def chips_of(backbone, nodes=NODES):
    return Generator.program(backbone, load_preset("180nm-1t1r"), 50, nodes, examples=PUBLIC)


def class_aware(backbone):
    """Return a network that its few steps have not taught to heed the label, made to heed it."""
    model = copy.deepcopy(backbone.model)
    model.labels.rows[list(TASK.public)] += keyed_noise(1, "rows", count=len(TASK.public)).flatten(1)[:, :96]
    return dataclasses.replace(backbone, model=model, base=frozen_base(model))


@pytest.fixture
def chips(backbone):
    return chips_of(backbone)


def noise(count, nodes=2):
    return keyed_noise(1, "test", count=nodes * count).view(nodes, count, *IMAGE_SHAPE)


def asked(*labels, style=NULL_STYLE):
    """Return prompts of labels in one style."""
    return prompts_of(torch.tensor(labels), torch.full((len(labels),), style))


@pytest.fixture(scope="module")
def layout(backbone):
    return ClassLayout(backbone.base, TASK.seed, rank=4)


def test_transformer_has_the_size_that_was_probed():
    model = DiffusionTransformer()

    assert sum(p.numel() for p in model.parameters()) == 563_244
    assert sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)) == 555_264


def test_patches_are_put_together_as_they_were_cut():
    images = torch.arange(3.0 * 24 * 24 * 3).view(3, *IMAGE_SHAPE)

    assert torch.equal(unpatched(patches(images)), images)
    assert torch.equal(patches(images)[0, 1], images[0, :6, 6:12].flatten())


def test_signal_fades_from_all_to_nothing_and_variance_is_kept():
    signal = kept_signal()
    assert signal[0] == 1
    assert signal[STEPS] < 1e-3
    assert bool((signal.diff() < 0).all())

    steps = torch.tensor([40])
    x = noised(torch.ones(1, *IMAGE_SHAPE), steps, torch.zeros(1, *IMAGE_SHAPE))
    y = noised(torch.zeros(1, *IMAGE_SHAPE), steps, torch.ones(1, *IMAGE_SHAPE))
    assert float(x[0, 0, 0, 0] ** 2 + y[0, 0, 0, 0] ** 2) == pytest.approx(1)


def test_sampling_with_a_perfect_denoiser_returns_the_image():
    image = from_colour_levels(PUBLIC.levels[:6]).view(2, 3, *IMAGE_SHAPE)

    def perfect(x, steps, prompts):
        return torch.cat([image, image], dim=1)

    levels = sample(perfect, noise(3), torch.zeros(2, 3, dtype=torch.int64))

    assert torch.equal(levels, to_colour_levels(image))


def test_guidance_pulls_away_from_what_is_predicted_for_no_class():
    def by_class(x, steps, labels):
        return torch.where(labels == NULL_PROMPT, 0.1, 0.5)[..., None, None, None].expand(x.shape)

    def already_guided(x, steps, labels):
        return torch.full_like(x, 0.1 + 1.5 * 0.4)

    labels = torch.full((2, 3), 7)
    guided = sample(by_class, noise(3), labels, Sampling(steps=5, guidance=1.5))

    assert torch.equal(guided, sample(already_guided, noise(3), labels, Sampling(steps=5, guidance=1)))
    assert not torch.equal(guided, sample(by_class, noise(3), labels, Sampling(steps=5, guidance=1)))


@pytest.mark.parametrize("steps", [0, STEPS + 1])
def test_sampling_takes_no_more_steps_than_there_are(steps):
    with pytest.raises(EngineError, match=str(steps)):
        Sampling(steps=steps)


def test_training_learns_to_tell_image_from_noise(backbone):
    test = TASK.images(TASK.public, test=True)
    steps = torch.arange(len(test.labels)) % STEPS + 1
    added = keyed_noise(2, "test", count=len(test.labels))

    clean, prompts = from_colour_levels(test.levels), prompts_of(test.labels, test.styles)

    predicted = backbone.model(noised(clean, steps, added), steps, prompts)

    # The mean of all images is what knows nothing of the one at hand.
    assert float(mse_loss(predicted, clean)) < 0.6 * float(clean.var())


def test_training_is_the_same_again_and_another_seed_is_another_network():
    brief = BackboneRecipe(steps=1, hardening_steps=1, batch=4)

    def digest(seed):
        return train_backbone(PUBLIC, seed, brief).base.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_asked_for_a_class_that_it_never_saw_the_network_does_as_if_asked_for_nothing(backbone):
    x, steps = noise(4)[0], torch.full((4,), 60)

    def predicted(label):
        return backbone.model(x, steps, asked(*[label] * 4))

    assert backbone.trained_on == set(TASK.public)
    assert torch.equal(predicted(FIRST), predicted(NULL_LABEL))
    assert not torch.equal(predicted(TASK.public[0]), predicted(NULL_LABEL))


def test_trained_network_is_read_back_and_a_damaged_file_is_trained_anew(tmp_path):
    brief, trained = BackboneRecipe(steps=1, hardening_steps=1, batch=4), []

    def get(images=PUBLIC):
        def note(done, total):
            trained.append((done, total))

        return cached_backbone(images, 1, brief, folder=tmp_path, progress=note)

    first = get()
    assert trained == [(1, 2), (2, 2)]
    assert get().base.digest == first.base.digest
    assert len(trained) == 2

    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    kept = load(bytes(content[32:]))
    assert {name for name in kept if not name.endswith(":scale")} == set(first.model.state_dict())
    assert kept["blocks.0.fc1.weight"].dtype is torch.int8
    content[-1] ^= 1
    file.write_bytes(content)
    assert get().base.digest == first.base.digest
    assert len(trained) == 4

    get(TASK.images(TASK.public[:2], test=False))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def labelled(levels, labels=(0,), styles=(0,)):
    return LabelledImages(levels, torch.tensor(labels), torch.tensor(styles))


ONE = torch.zeros(1, *IMAGE_SHAPE, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (labelled(ONE.float()), "float32"),
        (labelled(ONE[:, :, :23]), "24, 23, 3"),
        (labelled(ONE, labels=(0, 1)), r"class per image.*\[2\]"),
        (labelled(ONE, labels=(10,)), "class is 0 to 9; got 10"),
        (labelled(ONE, styles=(4,)), "style is 0 to 3; got 4"),
    ],
)
def test_what_are_no_labelled_images_is_refused(images, said):
    with pytest.raises(EngineError, match=said):
        train_backbone(images, 1, BACKBONE)


def codes_of(layout, nodes=1):
    """Return codes of an adapter that somebody might have learnt, ``[nodes, length]``."""
    drawn = torch.randint(-400, 400, (1, layout.length), generator=torch.Generator().manual_seed(4))
    return drawn.expand(nodes, -1)


def test_label_row_is_part_of_the_adapter(backbone, chips, layout):
    codes, counts = codes_of(layout, len(NODES)), torch.ones(len(NODES), dtype=torch.int64)
    factors = {name: (a, b) for name, a, b in layout.factors(codes, counts)}
    a, b = factors["labels"]
    branch = LoraBranch(a, b, Precision.FP32, chips.chips.preset, chips.meter)
    table = chips.chips.module.get_submodule("labels")
    own = asked(FIRST, FIRST, NULL_LABEL, FIRST, style=2)  # two nodes, two images each
    with torch.no_grad(), chips.attached({"labels": branch}):
        looked_up = table(own)

    rows, style = backbone.model.labels.rows, backbone.model.labels.styles[2]
    assert torch.allclose(looked_up[0] - rows[FIRST] - style, (b[0] @ a[0])[:, FIRST], atol=1e-5)
    assert torch.equal(looked_up[0], looked_up[3])
    assert torch.equal(table(own), rows[[FIRST, FIRST, NULL_LABEL, FIRST]] + style)


def test_fleet_draws_what_each_chip_draws_alone(backbone, chips, layout):
    prompts = asked(*TASK.public, FIRST, FIRST)
    started = noise(len(prompts))

    def drawn(generator, nodes):
        with generator.attached(branches_of(generator, layout, codes_of(layout, generator.nodes))):
            return sample(on_chips(generator.chips), started[nodes], prompts.expand(generator.nodes, -1), BRIEF)

    together = drawn(chips, slice(None))
    for index, node in enumerate(NODES):
        own = drawn(chips_of(backbone, [node]), slice(index, index + 1))
        # Float arithmetic between the crossbars may round otherwise in another batch, and a code flip.
        assert int((own[0].int() - together[index].int()).abs().max()) <= 16
    assert not torch.equal(together[0], together[1])


def test_eraser_moves_the_concept_to_what_is_drawn_in_its_place_and_spares_the_others(backbone, layout):
    aware = class_aware(backbone)
    chips, concept = chips_of(aware), concept_named(f"thing:{TASK.split.public[0]}", TASK)
    other, kept = TASK.public[3], TASK.images(TASK.public[1:], test=False)
    steps = torch.arange(60).expand(2, -1) + 30
    x = noised(from_colour_levels(kept.levels[:60]).expand(2, -1, -1, -1, -1), steps, noise(60))
    meant = kept.labels[:60]

    def predicted(labels, branches):
        with torch.no_grad(), chips.attached(branches):
            prompts = prompts_of(labels, torch.full_like(labels, NULL_STYLE))
            return on_chips(chips.chips)(x, steps, prompts.expand(2, -1))

    recipe = EraserRecipe(steps=25, batch=8)
    flat = torch.zeros(2, layout.length)
    flat = fit_eraser(chips, layout, concept, PUBLIC, flat, {}, seed=3, number=1, recipe=recipe)
    eraser = branches_of(chips, layout, layout.codes(dict(layout.split(flat))))

    mine, target = torch.full((60,), concept.number), predicted(meant, {})
    moved = mse_loss(predicted(mine, eraser), predicted(mine, {}))
    assert mse_loss(predicted(mine, eraser), target) < 0.75 * mse_loss(predicted(mine, {}), target)
    for spared in (torch.full((60,), other), meant):
        assert mse_loss(predicted(spared, eraser), predicted(spared, {})) < 0.5 * moved


def test_unknown_layers_are_named_and_nothing_is_left_attached(chips):
    with pytest.raises(AdapterError, match=r"blocks\.9\.qkv"), chips.attached({"blocks.9.qkv": torch.relu}):
        pass
    assert all(layer.correction is None for layer in chips.chips.analog.values())
