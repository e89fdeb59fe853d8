"""Inputs of the paper's small networks: photos for the mixer, spikes for the liquid state machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fleet.lab.paper.networks.lsm import CHANNELS, STEPS
from fleet.lab.paper.networks.mixer import IMAGE_SIDE

#: Coefficients of a frame whose change since the frame before is coded too.
_CHANGES = 2


def shrunk(photos: np.ndarray) -> Tensor:
    """Return square photos ``[people, photos, side, side]`` at the mixer's 16 x 16 pixels, float32."""
    return functional.avg_pool2d(torch.from_numpy(photos.copy()), photos.shape[-1] // IMAGE_SIDE)


def normalised(images: Tensor) -> Tensor:
    """Return images ``[B, H, W]`` of mean 0 and mean square 1 each."""
    centred = images - images.mean(dim=(1, 2), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2), keepdim=True).sqrt()


def resampled_vowels(sample: np.ndarray) -> np.ndarray:
    """Return 12 coefficients and the changes of the first two at ten moments, float64 ``[10, 14]``."""
    moments = np.linspace(0, len(sample) - 1, STEPS)
    frames = np.arange(len(sample))
    coefficients = np.stack([np.interp(moments, frames, channel) for channel in sample.T], axis=1)
    changes = np.diff(coefficients[:, :_CHANGES], axis=0, prepend=coefficients[:1, :_CHANGES])
    return np.concatenate([coefficients, changes], axis=1)


def even_thresholds(signals: np.ndarray) -> np.ndarray:
    """Return thresholds ``[levels, signals]`` that split each of the signals ``[samples, steps, signals]`` evenly.

    There are as many levels as make the channels of the machine.
    """
    levels = CHANNELS // signals.shape[2]
    flat = signals.reshape(-1, signals.shape[2])
    thresholds: np.ndarray = np.quantile(flat, (np.arange(levels) + 0.5) / levels, axis=0)
    return thresholds


def threshold_code(signals: np.ndarray, thresholds: np.ndarray) -> Tensor:
    """Return a spike for every threshold that a signal exceeds: float32 0 or 1, ``[samples, steps, channels]``."""
    spikes = signals[..., None] > thresholds.T
    return torch.from_numpy(spikes.reshape(*signals.shape[:2], -1).astype(np.float32))
