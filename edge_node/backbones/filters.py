"""Backbone of photos: a fixed bank of Gabor filters on crossbars, in integer arithmetic from pixel to code.

Nothing personal is in it, and nothing was learned: the weights are one formula on every chip. One photo::

    light  fifth root of each pixel's grey level                                                  (digital)
    patch  12 x 12 pixels every 2 pixels: 27 x 27 positions
    code   (light - mean of the patch) / (its standard deviation + EVENING), as 8-bit DAC codes   (digital)
    y      W code: 20 filters of 144 weights, on tiles                                             (analogue)
    pool   max(y, 0) and max(-y, 0), summed over 5 x 5 overlapping windows of positions            (digital)
    f      round(FEATURE_SCALE sqrt(mean)): 5 x 5 x 40 = 1,000 feature codes

Evening out brightness and contrast of each patch, and the square root, are what makes few photos enough; so
does looking at every second pixel (`FINE`): a face that is one pixel further left moves codes less. The fifth root
(Tan and Triggs, IEEE Trans. Image Processing 19, 2010) makes a shadow that crosses a patch a step of the size of other
edges (ADR 29). It is a table; all sums are of integers, and division and square root are those of IEEE 754, so codes
are bitwise equal for any batch, order and number of nodes, and on any processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import SampleError
from hwmodel import Cost, Crossbar, DeviceModels, EnergyLedger, Phase, Preset, cost

#: Side of a photo in pixels, and of a patch.
SIDE, PATCH = 64, 12
PHASES = (0.0, math.pi / 2)
#: Light levels from black to white. Those of a patch are at most 340 from the middle: their squares sum to below 2^24.
LIGHT_LEVELS = 680
#: Light level of each grey level 0 ... 255, less the middle: float32. A test holds them off rounding boundaries.
LIGHT = torch.tensor([float(round(LIGHT_LEVELS * (grey / 255) ** 0.2) - LIGHT_LEVELS // 2) for grey in range(256)])
#: Light levels added to a patch's standard deviation, so that plain skin does not become noise.
EVENING = 10
#: Standard deviations of a patch at which its codes saturate.
CLIP_SIGMAS = 2.5
#: Feature codes per unit of the square root of a mean ADC code.
FEATURE_SCALE = 64

_FULL_CODE = 127
#: Root mean square of the codes of a photo's patches, measured on public people; it only sets the ADC range.
_CODE_RMS = 36.0
#: Photos computed at once: bounds scratch memory for many nodes.
_CHUNK = 32


@dataclass(frozen=True)
class FilterLayout:
    """Filters, and the windows that they are pooled over.

    Attributes
    ----------
    stride
        Pixels between patches.
    bands
        Wavelength in pixels, orientations, width of the envelope in wavelengths; each filter in both phases.
    windows
        First position of a side that is pooled over, and the first that is not.
    """

    stride: int
    bands: tuple[tuple[float, int, float], ...]
    windows: tuple[tuple[int, int], ...]

    @property
    def positions(self) -> int:
        """Patches along a side."""
        return (SIDE - PATCH) // self.stride + 1

    @property
    def features(self) -> int:
        """Feature codes per photo: windows x filters x signs."""
        filters = len(PHASES) * sum(orientations for _, orientations, _ in self.bands)
        return len(self.windows) ** 2 * 2 * filters

    @cached_property
    def window_members(self) -> Tensor:
        """Positions of each pair of windows, left to right first: 0 and 1, float32 ``[windows^2, positions^2]``."""
        side = torch.zeros(len(self.windows), self.positions)
        for window, (first, end) in zip(side, self.windows, strict=True):
            window[first:end] = 1
        return torch.kron(side, side)


#: What nodes use. Chosen on 107 splits of the faces (seeds 0 to 15 and 20 to 110) with perfect chips: the
#: closed-form head errs on .54 % of test photos, with `COARSE` on 1.21 %; strangers accepted at 5 % false
#: rejects 4.0 and 7.5 %. A stride of 3 with the filters of `COARSE`: .75 and 3.6 %.
FINE = FilterLayout(
    stride=2,
    bands=((4.0, 3, 0.5), (6.0, 3, 0.5), (10.0, 4, 0.45)),
    windows=((0, 6), (4, 12), (10, 17), (15, 23), (21, 27)),
)
#: A quarter of the patches, 1,024 features. The constants of the two-layer networks were chosen on it.
COARSE = FilterLayout(
    stride=4, bands=((4.0, 5, 0.5), (6.0, 5, 0.5), (10.0, 6, 0.45)), windows=((0, 4), (3, 7), (7, 11), (10, 14))
)


def gabor_bank(layout: FilterLayout = FINE) -> Tensor:
    """Return the filters, float64 [filters, 144]: zero mean, largest magnitude 1, in steps of 1/4096.

    ``exp(-r^2 / 2 s^2) cos(2 pi u / wavelength + phase)``, u along the orientation; the steps are far below
    those of a conductance, and hide the last bits in which mathematical libraries differ.
    """
    centred = torch.arange(PATCH, dtype=torch.float64) - (PATCH - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")
    filters = []
    for wavelength, orientations, width in layout.bands:
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
    """Filter banks of N chips: `filters`, ``[filters, 144]``, on the tiles of every node."""

    filters: Crossbar
    layout: FilterLayout
    _preset: Preset

    @classmethod
    def program(
        cls,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
        models: DeviceModels | None = None,
        layout: FilterLayout = FINE,
    ) -> FilterBank:
        """Program the filters into every node's crossbars; charged to `Phase.PROGRAM`.

        `models` are the preset's by default; see `Crossbar.program`.
        """
        crossbar = Crossbar.program(
            gabor_bank(layout),
            preset,
            fleet_seed=fleet_seed,
            nodes=node_ids,
            layer="filters",
            input_rms=_CODE_RMS,
            ledger=ledger,
            models=models,
        )
        return cls(crossbar, layout, preset)

    @property
    def features(self) -> int:
        """Feature codes per photo."""
        return self.layout.features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.filters.cell_writes.clone()

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run photos, float32 [64, 64] of grey levels 0 to 1, through every chip; see `Backbone.capture`."""
        pixels = torch.stack([_pixels(sample) for sample in samples]) if samples else torch.zeros(0, SIDE, SIDE)
        nodes = len(self.filters.nodes)
        out = torch.zeros(nodes, len(samples), self.features, dtype=torch.int32)
        for start in range(0, len(samples), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._filter(patch_codes(pixels[part], self.layout.stride), out[:, part], ledger, phase)
        ledger.charge(phase, self._digital_cost(len(samples)))
        return out

    def _filter(self, codes: Tensor, out: Tensor, ledger: EnergyLedger, phase: Phase) -> None:
        """Fill in the feature codes of photos, ``[nodes, photos, features]``, photo after photo."""
        positions = codes.shape[1]
        flat = codes.reshape(1, -1, PATCH * PATCH).expand(len(out), -1, -1)
        windows = self.layout.window_members
        size = windows.sum(dim=1).double()[:, None, None]
        for nodes, places, products in self.filters.mvm_blocks(flat, vectors=positions, ledger=ledger, phase=phase):
            # Sums over a window stay below 2^24: exact in float32.
            y = products.transpose(0, 1).reshape(positions, -1).float()
            total, positive = windows @ y, windows @ y.relu_()
            sums = [part.view(len(windows), len(products), -1) for part in (positive, positive - total)]
            means = torch.cat(sums, dim=2).double() / size
            features = (means.sqrt_() * FEATURE_SCALE).round_().to(torch.int32)
            out[nodes, places.start // positions] = features.transpose(0, 1).flatten(1)

    def _digital_cost(self, photos: int) -> Cost:
        """Mean, deviation and scaling of each patch pixel; rectifying and pooling of each output."""
        positions = self.layout.positions**2
        macs = photos * positions * (3 * PATCH * PATCH + 2 * self.filters.out_features)
        return cost.digital_macs(self._preset, macs, cost.Precision.INT8) + cost.sram_read(
            self._preset, photos * positions * PATCH * PATCH
        )


def _pixels(sample: np.ndarray) -> Tensor:
    """Return a photo's grey levels 0 ... 255, int64 [64, 64].

    `SampleError` if it is not finite float32 [64, 64] within 0 ... 1.
    """
    if sample.dtype != np.float32 or sample.shape != (SIDE, SIDE):
        raise SampleError(f"a photo is float32 [{SIDE}, {SIDE}]; got {sample.dtype} {list(sample.shape)}")
    if not (np.isfinite(sample).all() and sample.min() >= 0 and sample.max() <= 1):
        raise SampleError("a photo has grey levels from 0 to 1; this one has others, or NaN")
    return torch.from_numpy(np.rint(sample.astype(np.float64) * 255).astype(np.int64))


def patch_codes(pixels: Tensor, stride: int) -> Tensor:
    """Return evened patches of pixels, int64 [B, 64, 64] of 0 ... 255, as DAC codes, int8 [B, positions^2, 144]."""
    size, positions = PATCH * PATCH, ((SIDE - PATCH) // stride + 1) ** 2
    codes = torch.empty(len(pixels), positions, size, dtype=torch.int8)
    # Photo by photo: what is in between then stays in the cache.
    for photo, out in zip(LIGHT[pixels], codes, strict=True):
        patches = photo.unfold(0, PATCH, stride).unfold(1, PATCH, stride).reshape(positions, size)
        # Everything times the patch's size, so that means stay integers; those of float32 are below 2^24.
        total, squares = (part.sum(dim=1, keepdim=True) for part in (patches, patches.square()))
        spread = size * (size * squares.double() - total.double().square())
        sigma = (spread / size).sqrt()
        deviation = (patches * size).sub_(total).double()
        evened = deviation.mul_(_FULL_CODE / CLIP_SIGMAS).div_(sigma + EVENING * size)
        out.copy_(evened.round_().clamp_(-_FULL_CODE, _FULL_CODE))
    return codes
