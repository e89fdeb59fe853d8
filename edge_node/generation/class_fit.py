"""Learning of a class on the devices, each by itself, as integer codes.

Every node trains its own factors B on its own images; A is frozen and the same on all (`class_codes`). The nodes of a
batch share nothing but their arithmetic: what one learns is what it would learn alone.

The label is never withheld: without it the chips go on to predict what they know, and guidance pulls the class away
from that. A node trains no number of a class: its images are told to be of the free label, which means nothing until
the class's own row is added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.class_codes import CLASS_LAYERS, ClassLayout
from edge_node.generation.diffusion import STEPS, Sampling, denoising_loss, from_colour_levels, noised, on_chips
from edge_node.generation.dit import CLASSES, IMAGE_SHAPE, NULL_STYLE, STYLES, TOKENS
from edge_node.generation.eraser import EraserRecipe
from edge_node.generation.generator import BLOCK_LAYERS, LABELS, Generator
from edge_node.generation.training import BackboneRecipe, Progress, TrainedBackbone, half_cosine
from hwmodel import ConverterError, Cost, LayerSpec, NetworkSpec, Phase, TrainingFacts, cost, keyed_generator
from hwmodel.networks.derive import derived_layers
from hwmodel.networks.spec import Lora

#: Layers in front of the condition and of the first block: no gradient has to cross them.
_IN_FRONT = ("embed", "time1", "time2")


@dataclass(frozen=True, slots=True)
class ClassRecipe:
    """Recipe by which a node learns a class.

    The style is withheld: a device is not told in which style its owner's pictures are, and need not be. The backbone
    draws the class in every style that it is asked for. What was tried (one chip that learns from half of the images;
    32 generated, of which show the class and have the style): "cat" by 150 steps of 8 images .88 and 1.00, by 500 1.00
    and 1.00, by 300 of 16 1.00 and 1.00, cleaner to the eye; "house" and "cup" by 500 of 8 1.00 and 1.00.

    Attributes
    ----------
    rank, alpha
        Of every layer.
    steps, batch
        Of Adam, and images per step.
    learning_rate
        At the first step; a half cosine takes it down to nothing.
    """

    rank: int = 8
    alpha: float = 16.0
    steps: int = 400
    batch: int = 16
    learning_rate: float = 1e-2


@dataclass(frozen=True)
class GenerationRecipe:
    """Recipe of a task: how its backbone is trained, classes are learnt, concepts erased, and images generated."""

    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    subject: ClassRecipe = field(default_factory=ClassRecipe)
    eraser: EraserRecipe = field(default_factory=EraserRecipe)
    sampling: Sampling = field(default_factory=Sampling)


def free_label(backbone: TrainedBackbone) -> int:
    """Return the label that private classes are told by: one whose row is that of no class.

    `EngineError` if the backbone was trained on every class, so that no row is free.
    """
    free = [label for label in range(CLASSES) if label not in backbone.trained_on]
    if not free:
        raise EngineError(f"the backbone was trained on all {CLASSES} classes: no label row is free for a private one")
    return free[0]


def fit_class(
    generator: Generator,
    layout: ClassLayout,
    levels: Sequence[Tensor],
    subject_tag: str,
    seed: int,
    recipe: ClassRecipe,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Learn one class on every node's chip from that node's images; return codes, int32 ``[N, layout.length]``.

    `EngineError` if a node has no images, or training diverges.

    Parameters
    ----------
    generator
        The chips; charged, and otherwise left as they are.
    layout
        Of the codes; with the recipe's rank.
    levels
        Each node's images, colour levels, uint8 ``[B, 24, 24, 3]``.
    subject_tag, seed
        What is random is drawn from a stream of (seed, tag, step), the same on every node: nodes that learn the same
        class see the same noise, so that their factors lie close together and average well.
    progress
        Called after every step; what it raises ends the training.
    """
    if len(levels) != generator.nodes or not all(len(own) for own in levels):
        raise EngineError(f"{generator.nodes} nodes learn from images of their own; got {[len(own) for own in levels]}")
    images = [from_colour_levels(own) for own in levels]
    asked = torch.full((generator.nodes, recipe.batch), free_label(generator.backbone) * (STYLES + 1) + NULL_STYLE)
    denoise = on_chips(generator.chips)
    b = {
        name: torch.zeros(generator.nodes, layout.base.layer(name).outputs, recipe.rank, requires_grad=True)
        for name in CLASS_LAYERS
    }
    adam = torch.optim.Adam(b.values(), lr=recipe.learning_rate)
    with generator.chips.charging(Phase.TRAIN), generator.attached(layout.in_training(b)):
        for step in range(recipe.steps):
            for group in adam.param_groups:
                group["lr"] = recipe.learning_rate * half_cosine(step, recipe.steps)
            draws = keyed_generator(seed, "images.class.step", subject_tag, step)
            share = torch.rand(recipe.batch, generator=draws)
            steps = torch.randint(1, STEPS + 1, (recipe.batch,), generator=draws).expand_as(asked)
            noise = torch.randn(recipe.batch, *IMAGE_SHAPE, generator=draws)
            noise = noise.expand(generator.nodes, *noise.shape)
            picked = torch.stack([own[(share * len(own)).long()] for own in images])
            adam.zero_grad()
            try:
                predicted = denoise(noised(picked, steps, noise), steps, asked)
            except ConverterError as error:
                # What is not finite has no DAC code: the chips notice first.
                raise EngineError(
                    f"learning a class diverged at step {step}: lower the learning rate {recipe.learning_rate}"
                ) from error
            # Summed over nodes, so that each node's gradient is that of its own loss alone.
            loss = denoising_loss(predicted, picked, steps) * generator.nodes
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress(step + 1, recipe.steps)
    generator.ledger.charge(
        Phase.TRAIN,
        digital_cost(generator, CLASS_LAYERS, rank=recipe.rank, batch=recipe.batch, steps=recipe.steps),
    )
    return layout.codes(b)


def generation_network(backbone: TrainedBackbone, recipe: GenerationRecipe) -> NetworkSpec:
    """Return the transformer as an image uses it, one pass per sampling step and label, with a class's LoRA.

    The label table is no crossbar, but a digital layer with a LoRA like the blocks' layers; no gradient crosses what
    comes before it.
    """
    subject, sampling = recipe.subject, recipe.sampling
    layers = derived_layers(
        backbone.model,
        (torch.zeros(1, *IMAGE_SHAPE), torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
        lora_ranks=dict.fromkeys(BLOCK_LAYERS, subject.rank),
        elementwise=("labels.rows", "labels.styles", "positions"),
    )
    table = backbone.base.layer(LABELS)
    labels = LayerSpec(
        name=LABELS, inputs=table.inputs, outputs=table.outputs, uses=1, digital=True, lora_rank=subject.rank
    )
    front = [layer for layer in layers if layer.name in _IN_FRONT]
    return NetworkSpec(
        name="images",
        title="diffusion transformer for pictures of 24 x 24 pixels",
        source="layers of `edge_node.generation.dit`, counted in a forward pass",
        layers=(*front, labels, *(layer for layer in layers if layer not in front)),
        passes_per_output=sampling.passes,
        lora=Lora(alpha=subject.alpha, source="how a node learns a class"),
        training=TrainingFacts(
            full_steps=subject.steps,
            lora_steps=subject.steps,
            batch=subject.batch,
            source="how a node learns a class; all weights are given as many steps",
        ),
    )


def digital_cost(generator: Generator, layers: Sequence[str], *, rank: int, batch: int, steps: int) -> Cost:
    """Return what training takes on each node beside the products of the forward pass, which chips charge.

    LoRA arithmetic and Adam in digital; and the gradient's way back through each crossbar behind the condition, as one
    product with its transpose.
    """
    preset, base = generator.chips.preset, generator.backbone.base
    total = Cost()
    for layer in generator.chips.layers:
        if layer.name not in _IN_FRONT:
            total += cost.crossbar_mvm(preset, layer.outputs, layer.inputs, _vectors(layer.name, batch))
    for name in layers:
        total += cost.lora_training_step(
            preset,
            inputs=base.layer(name).inputs,
            outputs=base.layer(name).outputs,
            rank=rank,
            samples=_vectors(name, batch),
            train_a=False,
            accesses_per_parameter=cost.ADAM_ACCESSES,
        )
    return total * steps


def _vectors(layer: str, batch: int) -> int:
    """Return the vectors that a layer multiplies for a batch: conditions are one per image, else tokens."""
    return batch if layer == LABELS or layer.split(".")[-1] == "ada" else batch * TOKENS
