"""Judge of pictures: says what a picture shows, and in which style.

It stands for the eye, and is on no chip. A node has one of public things, to see what an eraser hides; who measures a
fleet has one that is trained on private things too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_node.generation.diffusion import from_colour_levels
from edge_node.generation.dit import CLASSES, IMAGE_SHAPE, STYLES
from edge_node.generation.labelled_images import LabelledImages
from hwmodel import keyed_generator

#: Hidden units of the judge; the distance is over their activations.
JUDGE_WIDTH = 128
_JUDGE_STEPS, _JUDGE_BATCH, _JUDGE_RATE = 600, 128, 1e-3
#: Standard deviation of what is added to the judge's training images: it also sees imperfect ones.
_JUDGE_NOISE = 0.3


@dataclass(frozen=True, eq=False, slots=True)
class Judge:
    """A network of one hidden layer and two outputs: which class an image shows, and in which style."""

    #: Its layers.
    hidden: nn.Linear
    output: nn.Linear
    style_output: nn.Linear

    @classmethod
    def train(cls, real: LabelledImages, seed: int) -> Judge:
        """Train on real images of all classes."""
        draws = keyed_generator(seed, "images.judge.weights")
        hidden, output, style_output = (
            nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
            for inputs, outputs in (
                (math.prod(IMAGE_SHAPE), JUDGE_WIDTH),
                (JUDGE_WIDTH, CLASSES),
                (JUDGE_WIDTH, STYLES),
            )
        )
        layers = (hidden, output, style_output)
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=draws)
            nn.init.zeros_(layer.bias)
        judge = cls(hidden, output, style_output)
        images = from_colour_levels(real.levels)
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        adam = torch.optim.AdamW(parameters, lr=_JUDGE_RATE, weight_decay=1e-2)
        for step in range(_JUDGE_STEPS):
            draws = keyed_generator(seed, "images.judge.step", step)
            picked = torch.randint(len(images), (_JUDGE_BATCH,), generator=draws)
            noise = torch.randn(_JUDGE_BATCH, *IMAGE_SHAPE, generator=draws)
            driven = judge._activations(images[picked] + _JUDGE_NOISE * noise)
            loss = nn.functional.cross_entropy(output(driven), real.labels[picked])
            loss = loss + nn.functional.cross_entropy(style_output(driven), real.styles[picked])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        for layer in layers:
            layer.requires_grad_(False)
        return judge

    def classes(self, levels: Tensor) -> Tensor:
        """Return what images, uint8 ``[..., 24, 24, 3]``, show: int64 ``[...]``."""
        logits: Tensor = self.output(self.activations(levels))
        return logits.argmax(dim=-1)

    def styles(self, levels: Tensor) -> Tensor:
        """Return the style of images, uint8 ``[..., 24, 24, 3]``: int64 ``[...]``."""
        logits: Tensor = self.style_output(self.activations(levels))
        return logits.argmax(dim=-1)

    def accuracy(self, levels: Tensor, labels: Tensor | int) -> float:
        """Return the share of images that show their class."""
        return float((self.classes(levels) == labels).double().mean())

    def style_accuracy(self, levels: Tensor, styles: Tensor | int) -> float:
        """Return the share of images that have their style."""
        return float((self.styles(levels) == styles).double().mean())

    def activations(self, levels: Tensor) -> Tensor:
        """Return the hidden layer's activations, float32 ``[..., JUDGE_WIDTH]``."""
        return self._activations(from_colour_levels(levels))

    def _activations(self, images: Tensor) -> Tensor:
        driven: Tensor = self.hidden(images.flatten(-3))
        return driven.relu()
