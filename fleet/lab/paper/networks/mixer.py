"""The paper's mixer for faces: 16x16 grey images, 16 patches of 4x4, 20 channels, two blocks.

Architecture after Tolstikhin et al., "MLP-Mixer", NeurIPS 2021, with RMSNorm (gain only) instead of LayerNorm and no
biases, as arXiv 2601.10037 sizes it: 5,148 parameters with six classes, of which 5,048 are weights that go onto
crossbars and 100 are the gains of five norms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.errors import EngineError

#: Side of the image and of a patch, in pixels.
IMAGE_SIDE, PATCH_SIDE = 16, 4
TOKENS = (IMAGE_SIDE // PATCH_SIDE) ** 2
CHANNELS = 20
HIDDEN = 32
BLOCKS = 2
_NORM_EPSILON = 1e-8


class MixingMlp(nn.Module):
    """``fc2(gelu(fc1(x)))`` over the last axis, without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape, ``[..., width]``."""
        mixed: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return mixed


class MixerBlock(nn.Module):
    """Mix tokens, then channels, each behind an RMSNorm and around a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.token_norm = nn.RMSNorm(CHANNELS, eps=_NORM_EPSILON)
        self.token_mixing = MixingMlp(TOKENS, HIDDEN)
        self.channel_norm = nn.RMSNorm(CHANNELS, eps=_NORM_EPSILON)
        self.channel_mixing = MixingMlp(CHANNELS, HIDDEN)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the same shape, ``[B, 16, 20]``."""
        tokens = tokens + self.token_mixing(self.token_norm(tokens).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = tokens + self.channel_mixing(self.channel_norm(tokens))
        return mixed


class FaceMixer(nn.Module):
    """Image to class scores, of six classes in the paper."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise EngineError(f"a classifier needs two classes; got {classes}")
        self.embed = nn.Linear(PATCH_SIDE * PATCH_SIDE, CHANNELS, bias=False)
        self.blocks = nn.ModuleList([MixerBlock() for _ in range(BLOCKS)])
        self.output_norm = nn.RMSNorm(CHANNELS, eps=_NORM_EPSILON)
        self.readout = nn.Linear(CHANNELS, classes, bias=False)

    def features(self, images: Tensor) -> Tensor:
        """Return what the output layer sees, ``[B, 20]``, of images, float ``[B, 16, 16]``."""
        if images.ndim != 3 or images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
            raise EngineError(f"the mixer takes images [B, {IMAGE_SIDE}, {IMAGE_SIDE}]; got {list(images.shape)}")
        tokens: Tensor = self.embed(patches(images))
        for block in self.blocks:
            tokens = block(tokens)
        pooled: Tensor = self.output_norm(tokens).mean(dim=1)
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores, ``[B, classes]``, of images ``[B, 16, 16]``."""
        scores: Tensor = self.readout(self.features(images))
        return scores


def patches(images: Tensor) -> Tensor:
    """Cut images ``[B, 16, 16]`` into rows of patches, ``[B, 16 tokens, 16 pixels]``."""
    per_side = IMAGE_SIDE // PATCH_SIDE
    grid = images.reshape(-1, per_side, PATCH_SIDE, per_side, PATCH_SIDE)
    return torch.flatten(grid.permute(0, 1, 3, 2, 4), start_dim=3).flatten(1, 2)
