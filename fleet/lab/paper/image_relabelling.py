"""Approximate erasure of a class that the transformer was trained on: random labels, by a shared LoRA.

What arXiv 2601.10037 does to erase a style is like random labels: the LoRA is trained so that the chips,
asked for the class, draw images of other ones; the others are learnt on as they are. It is here to be
compared with: `erasure` (negative guidance) is what the fleet's own workload uses.

As with any adapter beside a backbone that knows the class, the class is back once the adapter is taken off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_node.errors import EngineError
from edge_node.generation.diffusion import STEPS, from_grey_levels, noised, on_chips
from edge_node.generation.dit import BLOCKS, IMAGE_SIDE, NULL_LABEL
from edge_node.generation.generator import Generator
from edge_node.generation.lora_fit import LoraRecipe, fit_lora
from edge_node.generation.training import Progress
from edge_node.recognition.lora.adapter import AdapterKind, LoraAdapter
from fleet.lab.paper.image_erasure import NULL_SHARE, erasure_name

#: What the paper changes: the layers whose name has "fc".
LAYERS = tuple(f"blocks.{block}.{name}" for block in range(BLOCKS) for name in ("fc1", "fc2"))
RECIPE = LoraRecipe(rank=4, alpha=8.0, steps=300, batch=16)


def relabel_class(
    generator: Generator,
    others: tuple[Tensor, Tensor],
    label: int,
    seed: int,
    recipe: LoraRecipe = RECIPE,
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Train the LoRA that makes the chips draw other classes when they are asked for this one.

    Parameters
    ----------
    generator
        The chips, without regard to what their bank holds.
    others
        Images of other classes that the backbone was trained on, uint8 ``[B, 8, 8]``, and their labels, int64
        ``[B]``. No image of the class itself is needed.
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
        If the backbone was not trained on the class, there are no other images, they show the class, or
        training diverges.
    """
    levels, labels = others
    if label not in generator.backbone.trained_on:
        raise EngineError(f"the backbone was not trained on class {label}: destroy its adapter instead, which is exact")
    if not len(levels) or bool((labels == label).any()):
        raise EngineError(
            f"relabelling class {label} needs images of other classes only; got {len(levels)}, "
            f"{int((labels == label).sum())} of them of the class"
        )
    images = from_grey_levels(levels)
    shape = (generator.nodes, recipe.batch)
    denoise = on_chips(generator.chips)
    relabelled = torch.arange(recipe.batch).expand(shape) < recipe.batch // 2

    def loss(draws: torch.Generator) -> Tensor:
        picked = torch.randint(len(images), shape, generator=draws)
        steps = torch.randint(1, STEPS + 1, shape, generator=draws)
        noise = torch.randn(*shape, IMAGE_SIDE, IMAGE_SIDE, generator=draws)
        withheld = torch.rand(shape, generator=draws) < NULL_SHARE
        told = torch.where(withheld, NULL_LABEL, labels[picked])
        asked = torch.where(relabelled, label, told)
        return nn.functional.mse_loss(denoise(noised(images[picked], steps, noise), steps, asked), noise)

    return fit_lora(generator, erasure_name(label), AdapterKind.SHARED, LAYERS, seed, recipe, loss, progress=progress)
