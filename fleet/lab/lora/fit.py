"""Gradient training of a LoRA beside the chips' crossbars: of one class, or of an erasure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.class_fit import digital_cost
from edge_node.generation.diffusion import STEPS, denoising_loss, from_colour_levels, noised, on_chips
from edge_node.generation.dit import CLASSES, IMAGE_SHAPE, prompts_of
from edge_node.generation.generator import BLOCK_LAYERS, LABELS, Generator
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import Progress, half_cosine
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.lora.generator import subject_name
from hwmodel import ConverterError, Phase, Precision, keyed_generator, keyed_normal
from hwmodel.nn import Correction

#: Mean loss over all nodes of one step, given the step's stream.
Loss = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """Recipe of a LoRA's training.

    Attributes
    ----------
    rank, alpha
        Of every layer.
    steps
        Of Adam.
    batch
        Images per step on each node.
    learning_rate
        At the first step; a half cosine takes it down to nothing.
    storage
        Number format that it is rounded to when it is trained.
    """

    rank: int = 8
    alpha: float = 16.0
    steps: int = 500
    batch: int = 8
    learning_rate: float = 3e-3
    storage: Precision = Precision.INT8


@dataclass(frozen=True, eq=False, slots=True)
class NoisyBatch:
    """Random images ``[N, B, 24, 24, 3]`` after random steps: which ones, as they were and noisy, and their steps."""

    picked: Tensor
    clean: Tensor
    images: Tensor
    steps: Tensor

    @classmethod
    def of(cls, images: Tensor, shape: tuple[int, int], draws: torch.Generator) -> NoisyBatch:
        """Draw a batch ``[N, B]`` from images of -1 to 1."""
        picked = torch.randint(len(images), shape, generator=draws)
        steps = torch.randint(1, STEPS + 1, shape, generator=draws)
        noise = torch.randn(*shape, *IMAGE_SHAPE, generator=draws)
        return cls(picked, images[picked], noised(images[picked], steps, noise), steps)


@dataclass(eq=False, slots=True)
class _Factors:
    """Factors of one layer while they are trained, float32."""

    a: Tensor
    b: Tensor
    scaling: float
    correction: Correction = field(init=False)

    def __post_init__(self) -> None:
        self.correction = lambda vectors: (vectors @ self.a.mT) @ self.b.mT * self.scaling


def fit_lora(
    generator: Generator,
    name: str,
    kind: LoraKind,
    layers: Sequence[str],
    seed: int,
    recipe: LoraRecipe,
    loss: Loss,
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Train a LoRA on the chips, from nothing, and return it as it is stored.

    The nodes train one adapter: their gradients are averaged at every step, as a federated round of one step does.
    While it is trained no other adapter acts, so that it depends on none. All that is random is drawn from a stream of
    (seed, name, step). `EngineError` if training diverges.

    Parameters
    ----------
    generator
        The chips; their adapters are not changed.
    name, kind, layers
        Of the adapter.
    seed, recipe
        Of its first factors and of its steps.
    loss
        Called once per step, while the LoRA acts.
    progress
        Called after every step.
    """
    base = generator.backbone.base
    trained = {
        layer: _first_factors(name, layer, base.layer(layer).inputs, base.layer(layer).outputs, seed, recipe)
        for layer in layers
    }
    parameters = [factor for pair in trained.values() for factor in (pair.a, pair.b)]
    adam = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    corrections = {layer: pair.correction for layer, pair in trained.items()}
    with generator.chips.charging(Phase.TRAIN), generator.attached(corrections):
        for step in range(recipe.steps):
            for group in adam.param_groups:
                group["lr"] = recipe.learning_rate * half_cosine(step, recipe.steps)
            try:
                value = loss(keyed_generator(seed, "images.lora.step", name, step))
            except ConverterError as error:
                # What is not finite has no DAC code: the chips notice first.
                raise EngineError(
                    f"training of {name} diverged at step {step}: lower the learning rate {recipe.learning_rate}"
                ) from error
            adam.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress(step + 1, recipe.steps)
    spent = digital_cost(generator, layers, rank=recipe.rank, batch=recipe.batch, steps=recipe.steps, train_a=True)
    generator.ledger.charge(Phase.TRAIN, spent)
    spec = LoraSpec(
        name=name,
        kind=kind,
        task=base.task,
        base_digest=base.digest,
        layers=tuple(sorted(layers)),
        rank=recipe.rank,
        alpha=recipe.alpha,
        storage=recipe.storage,
    )
    return LoraAdapter.build(
        spec,
        base,
        a={layer: pair.a for layer, pair in trained.items()},
        b={layer: pair.b for layer, pair in trained.items()},
    )


def learn_class(
    generator: Generator,
    examples: LabelledImages,
    label: int,
    seed: int,
    recipe: LoraRecipe | None = None,
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Learn a class that the transformer never saw, as the adapter ``subject_name(label)`` with a label row of its own.

    The label table is one of the layers that the LoRA changes: for a one-hot label its product is the row that the
    class adds to the row of no class. Nothing else of the device changes, so to forget the class is to destroy one
    adapter.

    The label is never withheld while the class is learnt: without it the device goes on to predict what it knows, and
    guidance pulls the class away from that. `EngineError` if the backbone was trained on the class, it has no images,
    or training diverges.

    Parameters
    ----------
    generator
        The chips. All nodes train the adapter together, each on mini-batches of its own.
    examples
        Images of the class, with their styles.
    label
        The class: one that the backbone was not trained on.
    seed, recipe, progress
        As for `fit_lora`; `LoraRecipe()` if None.
    """
    if not 0 <= label < CLASSES or label in generator.backbone.trained_on:
        raise EngineError(
            f"class {label} cannot be learnt beside the backbone: expected one of 0 to {CLASSES - 1} that it "
            f"was not trained on, and it was on {sorted(generator.backbone.trained_on)}"
        )
    if not len(examples.labels):
        raise EngineError(f"class {label} has no images to learn from")
    recipe = recipe or LoraRecipe()
    images, shape = from_colour_levels(examples.levels), (generator.nodes, recipe.batch)
    denoise, prompts = on_chips(generator.chips), prompts_of(torch.full_like(examples.styles, label), examples.styles)

    def loss(draws: torch.Generator) -> Tensor:
        batch = NoisyBatch.of(images, shape, draws)
        predicted = denoise(batch.images, batch.steps, prompts[batch.picked])
        return denoising_loss(predicted, batch.clean, batch.steps)

    layers = (*BLOCK_LAYERS, LABELS)
    return fit_lora(generator, subject_name(label), LoraKind.SUBJECT, layers, seed, recipe, loss, progress=progress)


def _first_factors(name: str, layer: str, inputs: int, outputs: int, seed: int, recipe: LoraRecipe) -> _Factors:
    """Return a random A, whose products are as large as its inputs, and B = 0: no change yet."""
    drawn = keyed_normal(seed, "images.lora.a", name, layer, count=recipe.rank * inputs)
    a = (drawn / math.sqrt(inputs)).float().view(recipe.rank, inputs).requires_grad_()
    b = torch.zeros(outputs, recipe.rank, requires_grad=True)
    return _Factors(a, b, recipe.alpha / recipe.rank)
