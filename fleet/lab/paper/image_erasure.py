"""Approximate erasure of a class that the transformer was trained on: negative guidance, by a shared LoRA.

After Gandikota et al., "Erasing concepts from diffusion models" (ESD, ICCV 2023, arXiv 2303.07345): the LoRA
is trained so that the chips, asked for the class, predict what they did when asked for nothing, pushed away
from the class::

    eps'(x, class) = eps(x, nothing) - PUSH (eps(x, class) - eps(x, nothing))

and what they did before for every other class and for nothing. The targets come from the chips themselves
without the LoRA.

The crossbars still hold the class: this is a mask, and whoever takes the adapter off has the class back.
That is the strip test; only a class that the backbone never saw can be forgotten exactly (`subject_lora`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_node.errors import EngineError
from edge_node.generation.diffusion import STEPS, from_grey_levels, noised, on_chips
from edge_node.generation.dit import IMAGE_SIDE, NULL_LABEL
from edge_node.generation.generator import BLOCK_LAYERS, Generator
from edge_node.generation.lora_fit import LoraRecipe, fit_lora
from edge_node.generation.training import Progress
from edge_node.recognition.lora.adapter import AdapterKind, LoraAdapter

#: How far the class is pushed away, in differences between the class and nothing.
PUSH = 1.0
#: Weight of the other classes' loss against that of the erased one.
RETAIN_WEIGHT = 1.0
#: Retained images whose label is withheld.
NULL_SHARE = 0.2
RECIPE = LoraRecipe(steps=150, batch=16)


def erasure_name(label: int) -> str:
    """Return the name of the adapter that erases a class: ``"erase-3"``."""
    return f"erase-{label}"


def erase_class(
    generator: Generator,
    forget: Tensor,
    retain: tuple[Tensor, Tensor],
    label: int,
    seed: int,
    recipe: LoraRecipe = RECIPE,
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Train the LoRA that makes the chips refuse a class; install it to make it act.

    Parameters
    ----------
    generator
        The chips, without regard to what their bank holds.
    forget
        Images of the class, grey levels 0 to 16, uint8 ``[B, 8, 8]``: the sealed forget set.
    retain
        Images of other classes that the backbone was trained on, and their labels, int64 ``[B]``.
    label
        The class.
    seed, recipe, progress
        As for `fit_lora`.

    Returns
    -------
    LoraAdapter
        ``erasure_name(label)``, shared.

    Raises
    ------
    EngineError
        If the backbone was not trained on the class, the retained images show it, a set is empty, or
        training diverges.
    """
    levels, labels = retain
    if label not in generator.backbone.trained_on:
        raise EngineError(f"the backbone was not trained on class {label}: destroy its adapter instead, which is exact")
    if not len(forget) or not len(levels) or bool((labels == label).any()):
        raise EngineError(
            f"erasing class {label} needs images of it, and images of other classes only beside them; got "
            f"{len(forget)} and {len(levels)}, {int((labels == label).sum())} of the latter of the class"
        )
    gone, kept = from_grey_levels(forget), from_grey_levels(levels)
    shape = (generator.nodes, recipe.batch // 2)
    denoise = on_chips(generator.chips)
    erased = torch.full(shape, label)
    nothing = torch.full(shape, NULL_LABEL)

    def loss(draws: torch.Generator) -> Tensor:
        def noisy(images: Tensor, picked: Tensor) -> tuple[Tensor, Tensor]:
            steps = torch.randint(1, STEPS + 1, shape, generator=draws)
            noise = torch.randn(*shape, IMAGE_SIDE, IMAGE_SIDE, generator=draws)
            return noised(images[picked], steps, noise), steps

        x, steps = noisy(gone, torch.randint(len(gone), shape, generator=draws))
        picked = torch.randint(len(kept), shape, generator=draws)
        others, other_steps = noisy(kept, picked)
        withheld = torch.rand(shape, generator=draws) < NULL_SHARE
        told = torch.where(withheld, NULL_LABEL, labels[picked])
        with torch.no_grad(), generator.attached({}):
            before = denoise(
                torch.cat([x, x, others], dim=1),
                torch.cat([steps, steps, other_steps], dim=1),
                torch.cat([erased, nothing, told], dim=1),
            )
        of_class, of_nothing, of_others = before.chunk(3, dim=1)
        after = denoise(
            torch.cat([x, others], dim=1), torch.cat([steps, other_steps], dim=1), torch.cat([erased, told], dim=1)
        )
        now_class, now_others = after.chunk(2, dim=1)
        pushed = of_nothing - PUSH * (of_class - of_nothing)
        away = nn.functional.mse_loss(now_class, pushed)
        return away + RETAIN_WEIGHT * nn.functional.mse_loss(now_others, of_others)

    return fit_lora(
        generator, erasure_name(label), AdapterKind.SHARED, BLOCK_LAYERS, seed, recipe, loss, progress=progress
    )
