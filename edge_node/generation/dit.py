"""Class-conditional diffusion transformer for 8x8 grey images, small enough for crossbars of 128 x 128.

Architecture after Peebles and Xie, "Scalable diffusion models with transformers" (DiT, ICCV 2023, arXiv 2212.09748),
with adaLN-Zero: patches of 2 x 2 pixels, 16 tokens of width 64, three blocks of four heads; 243,012 parameters, of
which 238,080 are weights of linear layers, which go onto crossbars. It predicts the noise of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.errors import EngineError

#: Side of an image and of a patch, in pixels.
IMAGE_SIDE, PATCH_SIDE = 8, 2
TOKENS = (IMAGE_SIDE // PATCH_SIDE) ** 2
WIDTH, HEADS, BLOCKS = 64, 4, 3
#: Hidden units of a block's two-layer network.
HIDDEN = 4 * WIDTH
#: Rows of the label table that may mean something: one per class, trained on or not.
CLASSES = 10
#: The label that says nothing: what the network makes when it is not told a class.
NULL_LABEL = CLASSES
#: Longest wavelength of the time embedding, in diffusion steps.
_LONGEST_WAVE = 1e4


class LabelTable(nn.Module):
    """Row per class, and one for no class, ``[CLASSES + 1, WIDTH]``: in digital memory, not on a crossbar.

    Attributes
    ----------
    correction
        None, or what is added to the row that is looked up: gets one-hot labels ``[N, V, CLASSES + 1]`` and returns
        ``[N, V, WIDTH]``, as `hwmodel.nn.AnalogLayer.correction` does for a crossbar. Seen this way the table is a
        linear layer, and a class that it does not know gets its row by a LoRA like any other.
    nodes
        Nodes whose batches are folded into the first axis, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.02 * torch.randn(CLASSES + 1, WIDTH))
        self.correction: Callable[[Tensor], Tensor] | None = None
        self.nodes = 1

    def forward(self, labels: Tensor) -> Tensor:
        """Return the rows of labels, int64 ``[B]``, as ``[B, WIDTH]``."""
        rows = self.rows[labels]
        if self.correction is None:
            return rows
        hot = functional.one_hot(labels.view(self.nodes, -1), CLASSES + 1).to(rows.dtype)
        return rows + self.correction(hot).reshape(rows.shape)


class DitBlock(nn.Module):
    """Attention, then two layers, each behind a norm that the condition shifts, scales and gates."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.ada = nn.Linear(WIDTH, 6 * WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, WIDTH)
        nn.init.zeros_(self.ada.weight)
        nn.init.zeros_(self.ada.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Return tokens ``[B, 16, WIDTH]`` for tokens and their condition ``[B, WIDTH]``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.ada(condition).unsqueeze(1).chunk(6, dim=-1)
        attended = self._attention(self.norm(tokens) * (1 + scale1) + shift1)
        tokens = tokens + gate1 * self.out(attended)
        hidden = functional.gelu(self.fc1(self.norm(tokens) * (1 + scale2) + shift2), approximate="tanh")
        mixed: Tensor = tokens + gate2 * self.fc2(hidden)
        return mixed

    def _attention(self, tokens: Tensor) -> Tensor:
        batch = tokens.shape[0]
        heads: Tensor = self.qkv(tokens).view(batch, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        weights = (query @ key.mT / math.sqrt(WIDTH // HEADS)).softmax(dim=-1)
        return (weights @ value).transpose(1, 2).reshape(batch, TOKENS, WIDTH)


class DiffusionTransformer(nn.Module):
    """Noisy image, step and label to the noise in it. The batch comes first throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH_SIDE**2, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
        self.time1 = nn.Linear(WIDTH, WIDTH)
        self.time2 = nn.Linear(WIDTH, WIDTH)
        self.labels = LabelTable()
        self.blocks = nn.ModuleList([DitBlock() for _ in range(BLOCKS)])
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.ada = nn.Linear(WIDTH, 2 * WIDTH)
        self.unembed = nn.Linear(WIDTH, PATCH_SIDE**2)
        for layer in (self.ada, self.unembed):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
        """Return the predicted noise, float32 ``[B, 8, 8]``; `EngineError` if the images have another size.

        Parameters
        ----------
        images
            Noisy images, float32 ``[B, 8, 8]``.
        steps, labels
            Diffusion step of each, and its class or `NULL_LABEL`, int64 ``[B]``.
        """
        if images.ndim != 3 or images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
            raise EngineError(f"the transformer takes images [B, {IMAGE_SIDE}, {IMAGE_SIDE}]; got {list(images.shape)}")
        time = self.time2(functional.silu(self.time1(step_waves(steps))))
        condition = functional.silu(time + self.labels(labels))
        tokens = self.embed(patches(images)) + self.positions
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.ada(condition).unsqueeze(1).chunk(2, dim=-1)
        return unpatched(self.unembed(self.norm(tokens) * (1 + scale) + shift))


def step_waves(steps: Tensor) -> Tensor:
    """Return cosines and sines of diffusion steps, float32 ``[B, WIDTH]``."""
    rates = torch.exp(torch.arange(WIDTH // 2) * (-math.log(_LONGEST_WAVE) / (WIDTH // 2)))
    angles = steps.to(torch.float32)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def patches(images: Tensor) -> Tensor:
    """Cut images ``[B, 8, 8]`` into ``[B, 16 tokens, 4 pixels]``."""
    per_side = IMAGE_SIDE // PATCH_SIDE
    grid = images.reshape(-1, per_side, PATCH_SIDE, per_side, PATCH_SIDE)
    return grid.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


def unpatched(tokens: Tensor) -> Tensor:
    """Put ``[B, 16 tokens, 4 pixels]`` together to images ``[B, 8, 8]``."""
    per_side = IMAGE_SIDE // PATCH_SIDE
    grid = tokens.view(-1, per_side, per_side, PATCH_SIDE, PATCH_SIDE)
    return grid.permute(0, 1, 3, 2, 4).reshape(-1, IMAGE_SIDE, IMAGE_SIDE)
