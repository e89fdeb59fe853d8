"""Backbone of photos: a fixed bank of Gabor filters on crossbars, in integer arithmetic from pixel to code.

Nothing personal is in it, and nothing was learned: the weights are one formula on every chip. One photo::

    patch  12 x 12 pixels every 4 pixels: 14 x 14 positions
    code   (pixel - mean of the patch) / (its standard deviation + EVENING), as 8-bit DAC codes   (digital)
    y      W code: 32 filters of 144 weights, on tiles                                             (analogue)
    pool   max(y, 0) and max(-y, 0), summed over 4 x 4 overlapping windows of positions            (digital)
    f      round(FEATURE_SCALE sqrt(mean)): 4 x 4 x 64 = 1,024 feature codes

Evening out brightness and contrast of each patch, and the square root, are what makes few photos enough. All
sums are of integers, and division and square root are those of IEEE 754, so codes are bitwise equal for any
batch, order and number of nodes, and on any processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import ClipError
from hwmodel import Cost, Crossbar, DeviceModels, EnergyLedger, Phase, Preset, cost

#: Side of a photo in pixels, of a patch, and pixels between patches.
SIDE, PATCH, STRIDE = 64, 12, 4
#: (wavelength in pixels, orientations, width of the envelope in wavelengths): 32 filters with both phases.
BANDS = ((4.0, 5, 0.5), (6.0, 5, 0.5), (10.0, 6, 0.45))
PHASES = (0.0, math.pi / 2)
#: Grey levels added to a patch's standard deviation, so that plain skin does not become noise.
EVENING = 10
#: Standard deviations of a patch at which its codes saturate.
CLIP_SIGMAS = 2.5
#: Positions that each window of a side pools over.
WINDOWS = ((0, 4), (3, 7), (7, 11), (10, 14))
#: Feature codes per unit of the square root of a mean ADC code.
FEATURE_SCALE = 64

_POSITIONS = (SIDE - PATCH) // STRIDE + 1
_FULL_CODE = 127
#: Root mean square of the codes of a photo's patches, measured on public people; it only sets the ADC range.
_CODE_RMS = 36.0
#: Photos computed at once: bounds scratch memory for many nodes.
_CHUNK = 32


def gabor_bank() -> Tensor:
    """Return the filters, float64 [32, 144]: zero mean, largest magnitude 1, in steps of 1/4096.

    ``exp(-r^2 / 2 s^2) cos(2 pi u / wavelength + phase)``, u along the orientation; the steps are far below
    those of a conductance, and hide the last bits in which mathematical libraries differ.
    """
    centred = torch.arange(PATCH, dtype=torch.float64) - (PATCH - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")
    filters = []
    for wavelength, orientations, width in BANDS:
        envelope = torch.exp(-(x.square() + y.square()) / (2 * (width * wavelength) ** 2))
        for k in range(orientations):
            angle = math.pi * k / orientations
            along = x * math.cos(angle) + y * math.sin(angle)
            for phase in PHASES:
                wave = envelope * torch.cos(2 * math.pi * along / wavelength + phase)
                wave = wave - wave.mean()
                filters.append((wave / wave.abs().max()).flatten())
    return (torch.stack(filters) * 4096).round_() / 4096


@dataclass(frozen=True, eq=False)
class FilterBank:
    """The filter banks of N chips.

    Attributes
    ----------
    filters
        ``[32, 144]`` on the tiles of every node.
    """

    filters: Crossbar
    _preset: Preset

    @classmethod
    def program(
        cls,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
        models: DeviceModels | None = None,
    ) -> FilterBank:
        """Program the filters into every node's crossbars; charged to `Phase.PROGRAM`.

        `models` are the preset's by default; see `Crossbar.program`.
        """
        crossbar = Crossbar.program(
            gabor_bank(),
            preset,
            fleet_seed=fleet_seed,
            nodes=node_ids,
            layer="filters",
            input_rms=_CODE_RMS,
            ledger=ledger,
            models=models,
        )
        return cls(crossbar, preset)

    @property
    def features(self) -> int:
        """Feature codes per photo: windows x filters x signs."""
        return len(WINDOWS) ** 2 * 2 * self.filters.out_features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.filters.cell_writes.clone()

    def capture(self, clips: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run photos, float32 [64, 64] of grey levels 0 to 1, through every chip; see `Backbone.capture`."""
        pixels = torch.stack([_pixels(clip) for clip in clips]) if clips else torch.zeros(0, SIDE, SIDE)
        nodes = len(self.filters.nodes)
        out = torch.zeros(nodes, len(clips), self.features, dtype=torch.int32)
        for start in range(0, len(clips), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[:, part] = self._features(patch_codes(pixels[part]), ledger, phase)
        ledger.charge(phase, self._digital_cost(len(clips)))
        return out

    def _features(self, codes: Tensor, ledger: EnergyLedger, phase: Phase) -> Tensor:
        nodes, photos = len(self.filters.nodes), len(codes)
        flat = codes.reshape(1, -1, PATCH * PATCH).expand(nodes, -1, -1)
        y = self.filters.mvm(flat, ledger=ledger, phase=phase)
        y = y.view(nodes, photos, _POSITIONS, _POSITIONS, self.filters.out_features)
        signed = torch.cat([y.clamp(min=0), (-y).clamp(min=0)], dim=-1)
        pooled = [
            signed[:, :, top:bottom, left:right].sum(dim=(2, 3), dtype=torch.int64).double()
            / ((bottom - top) * (right - left))
            for top, bottom in WINDOWS
            for left, right in WINDOWS
        ]
        means = torch.stack(pooled, dim=2).flatten(start_dim=2)
        return (means.sqrt_() * FEATURE_SCALE).round_().to(torch.int32)

    def _digital_cost(self, photos: int) -> Cost:
        """Mean, deviation and scaling of each patch pixel; rectifying and pooling of each output."""
        positions = _POSITIONS**2
        macs = photos * positions * (3 * PATCH * PATCH + 2 * self.filters.out_features)
        return cost.digital_macs(self._preset, macs, cost.Precision.INT8) + cost.sram_read(
            self._preset, photos * positions * PATCH * PATCH
        )


def _pixels(clip: np.ndarray) -> Tensor:
    """Return a photo's grey levels 0 ... 255, int64 [64, 64].

    Raises
    ------
    ClipError
        If it is not finite float32 [64, 64] within 0 ... 1.
    """
    if clip.dtype != np.float32 or clip.shape != (SIDE, SIDE):
        raise ClipError(f"a photo is float32 [{SIDE}, {SIDE}]; got {clip.dtype} {list(clip.shape)}")
    if not (np.isfinite(clip).all() and clip.min() >= 0 and clip.max() <= 1):
        raise ClipError("a photo has grey levels from 0 to 1; this one has others, or NaN")
    return torch.from_numpy(np.rint(clip.astype(np.float64) * 255).astype(np.int64))


def patch_codes(pixels: Tensor) -> Tensor:
    """Return evened patches as DAC codes.

    Parameters
    ----------
    pixels
        int64 [B, 64, 64], 0 ... 255.

    Returns
    -------
    Tensor
        int32 [B, 196, 144].
    """
    patches = pixels.unfold(1, PATCH, STRIDE).unfold(2, PATCH, STRIDE)
    patches = patches.reshape(len(pixels), _POSITIONS**2, PATCH * PATCH)
    size = PATCH * PATCH
    # Everything times the patch's size, so that means stay integers.
    deviation = (patches * size - patches.sum(dim=-1, keepdim=True)).double()
    sigma = (deviation.square().sum(dim=-1, keepdim=True) / size).sqrt()
    codes = deviation * (_FULL_CODE / CLIP_SIGMAS) / (sigma + EVENING * size)
    return codes.round_().clamp_(-_FULL_CODE, _FULL_CODE).to(torch.int32)
