"""Eraser of a concept: a LoRA by which chips no longer draw a thing or a style that their backbone knows.

The crossbars hold the concept for good, so an eraser is a mask: whoever takes it off has the concept back. It is
trained on public pictures in rounds of a learning job, each node on its own chip, from integer codes laid out as those
of a class (`class_codes`), and averaged between rounds.

Asked for the concept, or left to choose, the chips learn to draw what they drew of some other picture when asked for
just that: relabelling, as arXiv 2601.10037 erases a style, but with the frozen network's own answer as the target, so
that what is kept does not move, a picture's thing included when its style is erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.diffusion import STEPS, denoising_loss, from_colour_levels, noised, on_chips
from edge_node.generation.dit import IMAGE_SHAPE, NULL_LABEL, NULL_STYLE, prompts_of
from edge_node.generation.generator import LABELS, Generator
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import half_cosine
from hwmodel import ConverterError, Phase, keyed_generator
from hwmodel.nn import Correction


@dataclass(frozen=True, slots=True)
class EraserRecipe:
    """Recipe of one round of an eraser's training.

    Attributes
    ----------
    steps, batch
        Of Adam in a round, and pictures per step.
    learning_rate, decay
        At a round's first step, from where a half cosine takes it down to nothing; that of the next round is `decay`
        times as large.
    concept_share, open_share
        Pictures that are asked for by the concept, and those that are asked for without saying; the others are asked
        for as they are.
    withheld_share
        Pictures of which the other half of the prompt is withheld.
    """

    steps: int = 60
    batch: int = 24
    learning_rate: float = 1e-2
    decay: float = 0.5
    concept_share: float = 0.5
    open_share: float = 0.2
    withheld_share: float = 0.2


@dataclass(frozen=True, slots=True)
class Concept:
    """Thing or style that a backbone knows: a value of one half of the prompt."""

    name: str
    is_style: bool
    number: int

    def of(self, images: LabelledImages) -> Tensor:
        """Return the half of each picture's prompt that the concept is a value of, int64 ``[B]``."""
        return images.styles if self.is_style else images.labels

    @property
    def null(self) -> int:
        """Value of that half that says nothing."""
        return NULL_STYLE if self.is_style else NULL_LABEL

    def prompts(self, mine: Tensor, others: Tensor) -> Tensor:
        """Return prompts of this half and the other."""
        return prompts_of(others, mine) if self.is_style else prompts_of(mine, others)

    def other_half(self, images: LabelledImages) -> tuple[Tensor, int]:
        """Return the other half of each picture's prompt, int64 ``[B]``, and its value that says nothing."""
        return (images.labels, NULL_LABEL) if self.is_style else (images.styles, NULL_STYLE)


def fit_eraser(
    generator: Generator,
    layout: ClassLayout,
    concept: Concept,
    public: LabelledImages,
    start: Tensor,
    beside: Mapping[str, Correction],
    *,
    seed: int,
    number: int,
    recipe: EraserRecipe,
) -> Tensor:
    """Train an eraser by one round on every node's chip; return its factors B flat, float32 ``[N, layout.length]``.

    `EngineError` if nothing is left without the concept, or training diverges.

    Parameters
    ----------
    generator, layout
        The chips, charged and otherwise left as they are; and where codes lie.
    concept, public
        To be erased; training images of everything that the backbone knows.
    start
        Factors before the round, float32 ``[N, layout.length]``.
    beside
        Erasers of other concepts that act already, by layer.
    seed, number
        What is random is drawn from a stream of (seed, concept, round number, step), the same on every node.
    recipe
        How.
    """
    kept = public.where(concept.of(public) != concept.number)
    if not len(kept.labels):
        raise EngineError(f"nothing but {concept.name} is public: there is nothing to be drawn in its place")
    images, denoise = from_colour_levels(kept.levels), on_chips(generator.chips)
    b = {name: part.clone().requires_grad_() for name, part in layout.split(start) if name != LABELS}
    adam = torch.optim.Adam(b.values(), lr=recipe.learning_rate)
    rate = recipe.learning_rate * recipe.decay ** (number - 1)
    branches = added(layout.in_training(b), beside)
    shape = (generator.nodes, recipe.batch)
    with generator.chips.charging(Phase.TRAIN):
        for step in range(recipe.steps):
            for group in adam.param_groups:
                group["lr"] = rate * half_cosine(step, recipe.steps)
            draws = keyed_generator(seed, "images.eraser.step", concept.name, number, step)
            picked = torch.randint(len(images), (recipe.batch,), generator=draws)
            steps = torch.randint(1, STEPS + 1, (recipe.batch,), generator=draws).expand(shape)
            noise = torch.randn(recipe.batch, *IMAGE_SHAPE, generator=draws)
            noisy = noised(images[picked].expand(*shape, *IMAGE_SHAPE), steps, noise)
            asked, meant = (prompts.expand(shape) for prompts in _prompts(concept, kept.where(picked), recipe, draws))
            try:
                with torch.no_grad(), generator.attached(beside):
                    target = denoise(noisy, steps, meant)
                with generator.attached(branches):
                    predicted = denoise(noisy, steps, asked)
            except ConverterError as error:
                raise EngineError(f"the eraser of {concept.name} diverged at step {step} of round {number}") from error
            adam.zero_grad()
            # Summed over nodes, so that each node's gradient is that of its own loss alone.
            (denoising_loss(predicted, target, steps) * generator.nodes).backward()  # type: ignore[no-untyped-call]
            adam.step()
    return layout.joined({name: factor.detach() for name, factor in b.items()})


def _prompts(
    concept: Concept, images: LabelledImages, recipe: EraserRecipe, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what is asked of pictures without the concept, and what it is to mean, int64 ``[B]`` each."""
    mine, (others, nothing) = concept.of(images), concept.other_half(images)
    share, withheld = torch.rand(2, len(mine), generator=draws)
    others = torch.where(withheld < recipe.withheld_share, nothing, others)
    asked = torch.where(share < recipe.concept_share + recipe.open_share, concept.null, mine)
    asked = torch.where(share < recipe.concept_share, concept.number, asked)
    return concept.prompts(asked, others), concept.prompts(mine, others)


def added(*parts: Mapping[str, Correction]) -> dict[str, Correction]:
    """Return corrections by layer that do what all of these do."""
    summed: dict[str, Correction] = {}
    for part in parts:
        for name, correction in part.items():
            summed[name] = _sum(summed[name], correction) if name in summed else correction
    return summed


def _sum(one: Correction, other: Correction) -> Correction:
    return lambda vectors: one(vectors) + other(vectors)
