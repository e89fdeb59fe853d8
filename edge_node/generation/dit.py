"""Class-conditional diffusion transformer for pictures of 24 x 24 pixels in colour, small enough for crossbars.

Architecture after Peebles and Xie, "Scalable diffusion models with transformers" (DiT, ICCV 2023, arXiv 2212.09748),
with adaLN-Zero: patches of 6 x 6 pixels, 16 tokens of width 96, three blocks of four heads. It predicts the clean
picture, as Li and He, "Back to basics: let denoising generative models denoise" (2025, arXiv 2511.13720), advise for
patches that have more values than a token: pictures lie on a surface of few dimensions, noise does not.

A picture is asked for by a prompt: a thing and a style in one integer, either of which may be left open.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.errors import EngineError

#: Side of an image and of a patch, in pixels, and colour channels.
IMAGE_SIDE, PATCH_SIDE, CHANNELS = 24, 6, 3
#: Shape of an image.
IMAGE_SHAPE = (IMAGE_SIDE, IMAGE_SIDE, CHANNELS)
TOKENS = (IMAGE_SIDE // PATCH_SIDE) ** 2
PATCH_VALUES = PATCH_SIDE**2 * CHANNELS
WIDTH, HEADS, BLOCKS = 96, 4, 3
#: Hidden units of a block's two-layer network.
HIDDEN = 4 * WIDTH
#: Things that may be asked for, one row of the label table each, trained on or not; and styles.
CLASSES, STYLES = 10, 4
#: The label and the style that say nothing: what the network makes when it is not told.
NULL_LABEL, NULL_STYLE = CLASSES, STYLES
#: The prompt that says nothing at all.
NULL_PROMPT = NULL_LABEL * (STYLES + 1) + NULL_STYLE
#: Longest wavelength of the time embedding, in diffusion steps.
_LONGEST_WAVE = 1e4


def prompts_of(labels: Tensor, styles: Tensor) -> Tensor:
    """Return prompts of labels and styles, int64 of one shape."""
    return labels * (STYLES + 1) + styles


class LabelTable(nn.Module):
    """Row per class and per style, and one each for none, ``WIDTH`` wide: in digital memory, not on a crossbar.

    Attributes
    ----------
    rows, styles
        ``[CLASSES + 1, WIDTH]`` and ``[STYLES + 1, WIDTH]``: a prompt gets the sum of its two.
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
        self.styles = nn.Parameter(0.02 * torch.randn(STYLES + 1, WIDTH))
        self.correction: Callable[[Tensor], Tensor] | None = None
        self.nodes = 1

    def forward(self, prompts: Tensor) -> Tensor:
        """Return the rows of prompts, int64 ``[B]``, as ``[B, WIDTH]``."""
        labels = prompts // (STYLES + 1)
        rows = self.rows[labels] + self.styles[prompts % (STYLES + 1)]
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
    """Noisy image, step and prompt to the image without noise. The batch comes first throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH_VALUES, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(TOKENS, WIDTH))
        self.time1 = nn.Linear(WIDTH, WIDTH)
        self.time2 = nn.Linear(WIDTH, WIDTH)
        self.labels = LabelTable()
        self.blocks = nn.ModuleList([DitBlock() for _ in range(BLOCKS)])
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.ada = nn.Linear(WIDTH, 2 * WIDTH)
        self.unembed = nn.Linear(WIDTH, PATCH_VALUES)
        for layer in (self.ada, self.unembed):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor, steps: Tensor, prompts: Tensor) -> Tensor:
        """Return the predicted images, float32 ``[B, 24, 24, 3]``; `EngineError` if the images have another size.

        Parameters
        ----------
        images
            Noisy images, float32 ``[B, 24, 24, 3]``.
        steps, prompts
            Diffusion step of each, and its prompt, int64 ``[B]``.
        """
        if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
            raise EngineError(f"the transformer takes images [B, *{list(IMAGE_SHAPE)}]; got {list(images.shape)}")
        time = self.time2(functional.silu(self.time1(step_waves(steps))))
        condition = functional.silu(time + self.labels(prompts))
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
    """Cut images ``[B, 24, 24, 3]`` into ``[B, 16 tokens, 108 values]``."""
    per_side = IMAGE_SIDE // PATCH_SIDE
    grid = images.reshape(-1, per_side, PATCH_SIDE, per_side, PATCH_SIDE, CHANNELS)
    return grid.transpose(2, 3).reshape(-1, TOKENS, PATCH_VALUES)


def unpatched(tokens: Tensor) -> Tensor:
    """Put ``[B, 16 tokens, 108 values]`` together to images ``[B, 24, 24, 3]``."""
    per_side = IMAGE_SIDE // PATCH_SIDE
    grid = tokens.view(-1, per_side, per_side, PATCH_SIDE, PATCH_SIDE, CHANNELS)
    return grid.transpose(2, 3).reshape(-1, *IMAGE_SHAPE)
