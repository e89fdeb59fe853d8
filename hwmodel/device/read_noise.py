"""Noise that every read adds anew: random telegraph and 1/f noise of the cells, as one white number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hwmodel.device.window import ConductanceWindow
from hwmodel.errors import DeviceError
from hwmodel.streams import normal_quantiles

#: No draw of `hwmodel.normal_quantiles` is larger.
_LARGEST_DRAW = 4.33


@dataclass(frozen=True, slots=True)
class ReadNoise:
    """Normal noise on each cell and read, independent of the conductance.

    A partial sum over cells with codes c then carries normal noise of
    ``sigma / grid sqrt(sum of c^2) sqrt(cells per output)`` units (one code times one level): the sum of many small
    independent errors need not be drawn cell by cell. The usual figure is 1 % of the largest conductance (advice of
    aihwkit for ReRAM). Correlation between reads, which 1/f noise has, is left out.

    Where charge is gathered over input phases and converted once, noise that is anew in each phase would sum to
    ``sum of 4^i x_i^2`` of a code's bits x_i instead of ``c^2``: this form draws too much there, by 1.29 in sigma for
    evenly spread 4-bit codes, and is kept as the cautious side: noise that is slower than a read is the same in all
    phases, and gives ``c^2``. Raises `DeviceError` if sigma is negative or not finite.
    """

    source: ClassVar[str] = "aihwkit: 1 % of the largest conductance per read"

    sigma_us: float  #: of one cell's conductance from read to read; 0 switches it off

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma_us) and self.sigma_us >= 0):
            raise DeviceError(f"sigma of the read noise must be finite and not negative; got {self.sigma_us} uS")

    @property
    def present(self) -> bool:
        """Whether there is any."""
        return self.sigma_us > 0

    def noise(self, draws: Tensor, code_squares: Tensor, cells_per_output: float, window: ConductanceWindow) -> Tensor:
        """Return the noise of partial sums, in their integer units.

        The square root of a whole number below 2^53 is correctly rounded, and so the same everywhere. Returns int32,
        shape of `draws`. Raises `DeviceError` if the squares are not integers or `cells_per_output` is not positive.

        Parameters
        ----------
        draws
            Uniform draws from 0 ... 65535 (`hwmodel.keyed_uint16`), one per partial sum.
        code_squares
            Sum of the squared codes that drive each partial sum, integers, broadcastable to `draws`.
        cells_per_output
            Cells of one row that one output reads: 2 for a differential pair, ``1 + 1/k`` for a cell and the mean of k
            reference columns.
        window
            Conductance window; its grid is the unit.
        """
        if code_squares.dtype.is_floating_point:
            raise DeviceError(f"sums of squared codes are integers; got {code_squares.dtype}")
        scale = self._per_root_code_square(cells_per_output, window)
        sigma = code_squares.to(torch.float64).sqrt() * scale
        return (normal_quantiles(draws) * sigma).round_().to(torch.int32)

    def largest(self, code_squares: int, cells_per_output: float, window: ConductanceWindow) -> int:
        """Return a bound of `noise`: what partial sums need below 2^24 beside the sum itself."""
        scale = self._per_root_code_square(cells_per_output, window)
        return math.ceil(_LARGEST_DRAW * scale * math.sqrt(code_squares))

    def _per_root_code_square(self, cells_per_output: float, window: ConductanceWindow) -> float:
        if not cells_per_output > 0:
            raise DeviceError(f"an output reads at least part of a cell; got cells_per_output={cells_per_output}")
        return self.sigma_us / window.grid_us * math.sqrt(cells_per_output)
