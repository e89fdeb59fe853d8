"""Noise added to images in steps, and taken away again: for any network that predicts the image without it.

Everything has a leading node axis: images are ``[N, B, 24, 24, 3]``. Noise is a function of keys, so that two
fleets that should be equal can be asked for the same images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.dit import IMAGE_SHAPE, NULL_PROMPT
from hwmodel import ProgrammedModel, keyed_normal

#: Noisy images [N, B, 24, 24, 3], steps and prompts, int64 [N, B], to the images without noise.
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Steps from an image to noise, and how many of them sampling takes.
STEPS, SAMPLING_STEPS = 100, 10
#: How far the prompt pulls: ``image(null) + GUIDANCE (image(prompt) - image(null))`` (Ho and Salimans, 2022).
GUIDANCE = 1.5
#: Offset of the cosine schedule, which keeps the first steps from being too small.
_COSINE_OFFSET = 0.008
#: Largest variance that one step may add.
_LARGEST_BETA = 0.999
#: Colour levels are 0 ... 255; images are -1 ... 1.
COLOUR_LEVELS = 255
#: Share of noise from which a step weighs the same: weights of steps with less would grow without bound.
_LEAST_NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of sampling: steps of DDIM, evenly spaced among `STEPS`, and guidance, 1 for none."""

    steps: int = SAMPLING_STEPS
    guidance: float = GUIDANCE

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= STEPS:
            raise EngineError(f"sampling takes 1 to {STEPS} steps; got {self.steps}")

    @property
    def guided(self) -> bool:
        """Whether each step also asks for nothing."""
        return self.guidance != 1

    @property
    def passes(self) -> int:
        """Passes of the network for one image."""
        return self.steps * (2 if self.guided else 1)


def kept_signal() -> Tensor:
    """Return the share of an image's variance that is left after each step, float64 ``[STEPS + 1]``, first 1.

    The cosine schedule of Nichol and Dhariwal, "Improved denoising diffusion probabilistic models", ICML
    2021, arXiv 2102.09672, equation 17.
    """

    def curve(t: float) -> float:
        return math.cos((t / STEPS + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2

    betas = [min(_LARGEST_BETA, 1 - curve(t + 1) / curve(t)) for t in range(STEPS)]
    return torch.cat([torch.ones(1).double(), torch.cumprod(1 - torch.tensor(betas).double(), dim=0)])


def noised(images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
    """Return images, floats ``[..., 24, 24, 3]``, after so many steps, int64 ``[...]``, 1 to `STEPS`."""
    signal = kept_signal()[steps].to(images.dtype)[..., None, None, None]
    return signal.sqrt() * images + (1 - signal).sqrt() * noise


def denoising_loss(predicted: Tensor, images: Tensor, steps: Tensor) -> Tensor:
    """Return the mean squared error of predicted images, each step's over its share of noise.

    That is the error of the velocity between image and noise (Salimans and Ho, 2022), but for steps of little noise.
    """
    weights = 1 / (1 - kept_signal()[steps]).clamp(min=_LEAST_NOISE).to(images.dtype)
    return (weights[..., None, None, None] * (predicted - images).square()).mean()


def on_chips(chips: ProgrammedModel) -> Denoiser:
    """Return programmed chips as a denoiser: each node gets its own images."""

    def denoise(images: Tensor, steps: Tensor, prompts: Tensor) -> Tensor:
        predicted: Tensor = chips(images, steps, prompts, node_axis=True)
        return predicted

    return denoise


@torch.no_grad()
def sample(denoiser: Denoiser, noise: Tensor, prompts: Tensor, sampling: Sampling | None = None) -> Tensor:
    """Generate images by DDIM without fresh noise: a function of the noise, float32 ``[N, B, 24, 24, 3]``.

    Song, Meng and Ermon, "Denoising diffusion implicit models", ICLR 2021, arXiv 2010.02502, with eta = 0 and the image
    clipped to its range at each step. Prompts are int64 ``[N, B]``. Returns colour levels, uint8 of 0 to 255: integers,
    so that digests of them are of integers.
    """
    sampling = sampling if sampling is not None else Sampling()
    signal = kept_signal()
    times = torch.linspace(STEPS, 0, sampling.steps + 1).round().to(torch.int64).tolist()
    both = torch.cat([prompts, torch.full_like(prompts, NULL_PROMPT)], dim=1) if sampling.guided else prompts
    x = noise
    for time, following in itertools.pairwise(times):
        doubled = torch.cat([x, x], dim=1) if sampling.guided else x
        image = denoiser(doubled, torch.full_like(both, time), both)
        if sampling.guided:
            told, untold = image.chunk(2, dim=1)
            image = untold + sampling.guidance * (told - untold)
        image = image.clamp(-1, 1)
        now, then = float(signal[time]), float(signal[following])
        # The noise that is consistent with the clipped image.
        residual = (x - math.sqrt(now) * image) / math.sqrt(1 - now)
        x = math.sqrt(then) * image + math.sqrt(1 - then) * residual
    return to_colour_levels(x)


def keyed_noise(seed: int, purpose: str, *keys: int | str, count: int) -> Tensor:
    """Return standard normal images of a key, float32 ``[count, 24, 24, 3]``."""
    drawn = keyed_normal(seed, purpose, *keys, count=count * math.prod(IMAGE_SHAPE))
    return drawn.to(torch.float32).view(count, *IMAGE_SHAPE)


def to_colour_levels(images: Tensor) -> Tensor:
    """Return images of -1 to 1 as colour levels, uint8 of 0 to 255."""
    return ((images.clamp(-1, 1) + 1) * (COLOUR_LEVELS / 2)).round().to(torch.uint8)


def from_colour_levels(levels: Tensor) -> Tensor:
    """Return colour levels of 0 to 255 as images of -1 to 1, float32."""
    return levels.to(torch.float32) / (COLOUR_LEVELS / 2) - 1
