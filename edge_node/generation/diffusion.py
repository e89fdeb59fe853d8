"""Noise added to images in steps, and taken away again: for any network that predicts noise.

Everything has a leading node axis: images are ``[N, B, 8, 8]``. Noise is a function of keys, so that two
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
from edge_node.generation.dit import IMAGE_SIDE, NULL_LABEL
from hwmodel import ProgrammedModel, keyed_normal

#: Images [N, B, 8, 8], steps and labels, int64 [N, B], to the noise in them, [N, B, 8, 8].
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Steps from an image to noise, and how many of them sampling takes.
STEPS, SAMPLING_STEPS = 100, 25
#: How far the class pulls: ``eps(null) + GUIDANCE (eps(class) - eps(null))`` (Ho and Salimans, 2022).
GUIDANCE = 1.5
#: Offset of the cosine schedule, which keeps the first steps from being too small.
_COSINE_OFFSET = 0.008
#: Largest variance that one step may add.
_LARGEST_BETA = 0.999
#: Grey levels of a digit are 0 ... 16; images are -1 ... 1.
GREY_LEVELS = 16


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
        """Whether each step also asks for no class."""
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
    """Return images, floats ``[..., 8, 8]``, after so many steps, int64 ``[...]``, 1 to `STEPS`."""
    signal = kept_signal()[steps].to(images.dtype)[..., None, None]
    return signal.sqrt() * images + (1 - signal).sqrt() * noise


def on_chips(chips: ProgrammedModel) -> Denoiser:
    """Return programmed chips as a denoiser: each node gets its own images."""

    def denoise(images: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
        predicted: Tensor = chips(images, steps, labels, node_axis=True)
        return predicted

    return denoise


@torch.no_grad()
def sample(denoiser: Denoiser, noise: Tensor, labels: Tensor, sampling: Sampling | None = None) -> Tensor:
    """Generate images by DDIM without fresh noise: a function of the noise, float32 ``[N, B, 8, 8]``, at its start.

    Song, Meng and Ermon, "Denoising diffusion implicit models", ICLR 2021, arXiv 2010.02502, with eta = 0 and the image
    clipped to its range at each step. Labels are int64 ``[N, B]``. Returns grey levels, uint8 ``[N, B, 8, 8]`` of 0 to
    16: integers, so that digests of them are of integers.
    """
    sampling = sampling if sampling is not None else Sampling()
    signal = kept_signal()
    times = torch.linspace(STEPS, 0, sampling.steps + 1).round().to(torch.int64).tolist()
    both = torch.cat([labels, torch.full_like(labels, NULL_LABEL)], dim=1) if sampling.guided else labels
    x = noise
    for time, following in itertools.pairwise(times):
        doubled = torch.cat([x, x], dim=1) if sampling.guided else x
        predicted = denoiser(doubled, torch.full_like(both, time), both)
        if sampling.guided:
            told, untold = predicted.chunk(2, dim=1)
            predicted = untold + sampling.guidance * (told - untold)
        now, then = float(signal[time]), float(signal[following])
        image = ((x - math.sqrt(1 - now) * predicted) / math.sqrt(now)).clamp(-1, 1)
        # The noise that is consistent with the clipped image.
        residual = (x - math.sqrt(now) * image) / math.sqrt(1 - now)
        x = math.sqrt(then) * image + math.sqrt(1 - then) * residual
    return to_grey_levels(x)


def keyed_noise(seed: int, purpose: str, *keys: int | str, count: int) -> Tensor:
    """Return standard normal images of a key, float32 ``[count, 8, 8]``."""
    drawn = keyed_normal(seed, purpose, *keys, count=count * IMAGE_SIDE**2)
    return drawn.to(torch.float32).view(count, IMAGE_SIDE, IMAGE_SIDE)


def to_grey_levels(images: Tensor) -> Tensor:
    """Return images of -1 to 1 as grey levels, uint8 of 0 to 16."""
    return ((images.clamp(-1, 1) + 1) * (GREY_LEVELS / 2)).round().to(torch.uint8)


def from_grey_levels(levels: Tensor) -> Tensor:
    """Return grey levels of 0 to 16 as images of -1 to 1, float32."""
    return levels.to(torch.float32) / (GREY_LEVELS / 2) - 1
