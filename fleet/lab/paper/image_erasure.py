"""Approximate erasure of a class that the transformer was trained on, by a shared LoRA.

With images of the class, by negative guidance, after Gandikota et al., "Erasing concepts from diffusion models" (ESD,
ICCV 2023, arXiv 2303.07345): asked for the class, the chips learn to predict what they did when asked for nothing,
pushed away from the class, and what they did before for every other class and for nothing::

    image'(x, class) = image(x, nothing) - PUSH (image(x, class) - image(x, nothing))

Without, by random labels, which is what arXiv 2601.10037 does to erase a style: asked for the class, the chips learn
to generate images of other ones; the others are learnt on as they are. It is here to be compared with.

The crossbars still hold the class: this is a mask, and whoever takes the adapter off has the class back. That is the
strip test; only a class that the backbone never saw can be forgotten exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.diffusion import denoising_loss, from_colour_levels, on_chips
from edge_node.generation.dit import BLOCKS, NULL_LABEL, NULL_PROMPT, prompts_of
from edge_node.generation.generator import BLOCK_LAYERS, Generator
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import Progress
from fleet.lab.lora.adapter import LoraAdapter, LoraKind
from fleet.lab.lora.fit import LoraRecipe, Loss, NoisyBatch, fit_lora

#: How far the class is pushed away, in differences between the class and nothing.
PUSH = 1.0
#: Weight of the other classes' loss against that of the erased one.
RETAIN_WEIGHT = 1.0
#: Retained images whose label is withheld.
NULL_SHARE = 0.2
GUIDANCE_RECIPE = LoraRecipe(steps=150, batch=16)
RELABELLING_RECIPE = LoraRecipe(rank=4, alpha=8.0, steps=300, batch=16)
#: What the paper changes: the layers whose name has "fc".
RELABELLING_LAYERS = tuple(f"blocks.{block}.{name}" for block in range(BLOCKS) for name in ("fc1", "fc2"))


def erasure_name(label: int) -> str:
    """Return the name of the adapter that erases a class: ``"erase-3"``."""
    return f"erase-{label}"


def erase_class(
    generator: Generator,
    forget: LabelledImages | None,
    retain: LabelledImages,
    label: int,
    seed: int,
    recipe: LoraRecipe | None = None,
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Train the shared LoRA ``erasure_name(label)`` that makes the chips refuse a class; install it to make it act.

    `EngineError` if the backbone was not trained on the class, the retained images show it, a set is empty, or training
    diverges.

    Parameters
    ----------
    generator
        The chips, without regard to what their bank holds.
    forget
        Images of the class: the sealed forget set. None for random labels.
    retain
        Images of other classes that the backbone was trained on.
    label
        The class.
    seed, recipe, progress
        As for `fit_lora`; the method's own recipe if None.
    """
    labels = retain.labels
    if label not in generator.backbone.trained_on:
        raise EngineError(f"the backbone was not trained on class {label}: destroy its adapter instead, which is exact")
    if (forget is not None and not len(forget.labels)) or not len(labels) or bool((labels == label).any()):
        raise EngineError(
            f"erasing class {label} needs images of other classes only, and by guidance also images of it; got "
            f"{len(labels)}, {int((labels == label).sum())} of them of the class, and "
            f"{'none asked for' if forget is None else len(forget.labels)}"
        )
    if forget is None:
        layers, recipe = RELABELLING_LAYERS, recipe or RELABELLING_RECIPE
        loss = _relabelling(generator, retain, label, recipe.batch)
    else:
        layers, recipe = BLOCK_LAYERS, recipe or GUIDANCE_RECIPE
        loss = _guidance(generator, forget, retain, label, recipe.batch // 2)
    return fit_lora(generator, erasure_name(label), LoraKind.SHARED, layers, seed, recipe, loss, progress=progress)


def _guidance(generator: Generator, forget: LabelledImages, retain: LabelledImages, label: int, batch: int) -> Loss:
    shape, denoise = (generator.nodes, batch), on_chips(generator.chips)
    gone, kept = from_colour_levels(forget.levels), from_colour_levels(retain.levels)
    nothing = torch.full(shape, NULL_PROMPT)

    def loss(draws: torch.Generator) -> Tensor:
        mine, others = NoisyBatch.of(gone, shape, draws), NoisyBatch.of(kept, shape, draws)
        erased = prompts_of(torch.full(shape, label), forget.styles[mine.picked])
        asked = prompts_of(_partly_withheld(retain.labels[others.picked], draws), retain.styles[others.picked])
        with torch.no_grad(), generator.attached({}):
            before = denoise(
                torch.cat([mine.images, mine.images, others.images], dim=1),
                torch.cat([mine.steps, mine.steps, others.steps], dim=1),
                torch.cat([erased, nothing, asked], dim=1),
            )
        of_class, of_nothing, of_others = before.chunk(3, dim=1)
        after = denoise(
            torch.cat([mine.images, others.images], dim=1),
            torch.cat([mine.steps, others.steps], dim=1),
            torch.cat([erased, asked], dim=1),
        )
        now_class, now_others = after.chunk(2, dim=1)
        pushed = of_nothing - PUSH * (of_class - of_nothing)
        away = denoising_loss(now_class, pushed, mine.steps)
        return away + RETAIN_WEIGHT * denoising_loss(now_others, of_others, others.steps)

    return loss


def _relabelling(generator: Generator, retain: LabelledImages, label: int, batch: int) -> Loss:
    shape, denoise = (generator.nodes, batch), on_chips(generator.chips)
    kept = from_colour_levels(retain.levels)
    relabelled = torch.arange(batch).expand(shape) < batch // 2

    def loss(draws: torch.Generator) -> Tensor:
        others = NoisyBatch.of(kept, shape, draws)
        labels = torch.where(relabelled, label, _partly_withheld(retain.labels[others.picked], draws))
        asked = prompts_of(labels, retain.styles[others.picked])
        return denoising_loss(denoise(others.images, others.steps, asked), others.clean, others.steps)

    return loss


def _partly_withheld(labels: Tensor, draws: torch.Generator) -> Tensor:
    return torch.where(torch.rand(labels.shape, generator=draws) < NULL_SHARE, NULL_LABEL, labels)
