"""DAC and ADC as integer arithmetic on signed codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwmodel.errors import ConverterError

#: One number, or one per Monte-Carlo draw.
Real = TypeVar("Real", float, NDArray[np.float64])

#: Every integer up to here is exact in float32, and so is any sum that stays below it, in any order.
EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True, slots=True)
class Dac:
    """A signed, symmetric DAC: codes ``-(2^(bits-1) - 1) ... 2^(bits-1) - 1``."""

    bits: int

    @property
    def max_code(self) -> int:
        """Largest code; 127 at 8 bits."""
        return (1 << (self.bits - 1)) - 1

    def encode(self, values: Tensor, full_scale: float) -> Tensor:
        """Return int32 codes of float values: scaled, rounded half to even, saturated at `full_scale`.

        Raises `ConverterError` if `full_scale` is not positive or a value is not finite.
        """
        if not full_scale > 0:
            raise ConverterError(f"full_scale must be positive; got {full_scale}")
        _check_finite(values)
        codes = (values.to(torch.float64) * (self.max_code / full_scale)).round_()
        return codes.clamp_(-self.max_code, self.max_code).to(torch.int32)

    def encode_each(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes of vectors ``[V, in]``, each scaled by its own largest magnitude, and what one code stands for.

        The codes are whole numbers in float64, the units float64 ``[V, 1]``. Raises `ConverterError` if a value is not
        finite.
        """
        largest = vectors.abs().amax(dim=1, keepdim=True).to(torch.float64)
        _check_finite(largest)
        # A vector of zeros has no scale; any will do.
        unit = torch.where(largest > 0, largest, 1.0) / self.max_code
        return (vectors / unit).round_().clamp_(-self.max_code, self.max_code), unit

    def bit_planes(self, codes: Tensor) -> Iterator[Tensor]:
        """Yield the magnitude bits of codes with their sign, least significant first: -1, 0 and 1.

        ``codes = sum of plane_i 2^i``; there are ``bits - 1`` planes, in the dtype and shape of `codes`.
        """
        magnitudes, signs = codes.abs(), codes.sign()
        for bit in range(self.bits - 1):
            yield ((magnitudes >> bit) & 1) * signs

    def check(self, codes: Tensor) -> None:
        """Refuse codes that the DAC does not have.

        Raises `ConverterError` if the dtype is not an integer, or a code is out of range.
        """
        if codes.is_floating_point() or codes.is_complex() or codes.dtype is torch.bool:
            raise ConverterError(f"DAC codes are integers; got {codes.dtype}: use Dac.encode for floats")
        if codes.numel() == 0:
            return
        low, high = (int(v) for v in torch.aminmax(codes))
        if low < -self.max_code or high > self.max_code:
            raise ConverterError(
                f"DAC codes of {self.bits} bits lie in {-self.max_code} ... {self.max_code}; got {low} ... {high}"
            )


@dataclass(frozen=True, slots=True)
class Adc:
    """A signed ADC with a step of a whole number of partial-sum units.

    ``code = clamp(floor((sum + step // 2) / step), -2^(bits-1), 2^(bits-1) - 1)``: to the nearest code, half-way cases
    up, saturating. The step is in partial-sum units (DAC code x grid step) per output code. Raises `ConverterError` if
    the step is less than 1, or so large that `quantise` would not be exact.
    """

    bits: int
    step: int

    def __post_init__(self) -> None:
        # A float32 quotient whose floor is right for |code| <= 2^(bits-1) needs the distance of a non-integer
        # quotient from the next integer, 1/step, to be at least the spacing there, 2^(bits-1) / 2^24.
        limit = EXACT_FLOAT32 >> (self.bits - 1)
        if not 1 <= self.step <= limit:
            raise ConverterError(f"an ADC of {self.bits} bits needs a step of 1 ... {limit}; got {self.step}")

    @property
    def min_code(self) -> int:
        """Smallest code; -128 at 8 bits."""
        return -(1 << (self.bits - 1))

    @property
    def max_code(self) -> int:
        """Largest code; 127 at 8 bits."""
        return (1 << (self.bits - 1)) - 1

    def converted(self, sums: Tensor) -> Tensor:
        """Convert the partial sums of row tiles, ``[n, row_tiles, ...]``, and add up their codes, int32 ``[n, ...]``.

        The sums are overwritten, as by `quantise_`.
        """
        total, *others = self.quantise_(sums).unbind(dim=1)
        # Tile by tile: many times faster than a sum over so short an axis.
        for codes in others:
            total += codes
        return total.to(torch.int32)

    def quantise_(self, sums: Tensor) -> Tensor:
        """Turn float32 partial sums (integer values) into float32 codes, in place: exact.

        The caller keeps ``|sum| + step / 2`` below `EXACT_FLOAT32`; `Crossbar` checks that when it is built.
        """
        if self.step * (self.max_code + 2) < EXACT_FLOAT32 >> 3:
            # A quotient would take four times as long. With half a unit more the floor is the same, and the exact value
            # at least 1 / (2 step) from a whole number. What is computed is off by less: by three roundings (fewer if
            # fused) of at most 2^-24 each of a value within the range, and beyond it the clamp does not care.
            middle = torch.tensor((self.step // 2 + 0.5) / self.step, dtype=torch.float32)
            torch.add(middle, sums, alpha=1 / self.step, out=sums)
        else:
            sums.add_(self.step // 2).div_(self.step)
        return sums.floor_().clamp_(self.min_code, self.max_code)


def _check_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise ConverterError("cannot convert values that are not finite (NaN or infinity)")


def conversion_j(j_per_step: Real, bits: int) -> Real:
    """Return the energy of one conversion, J: ``fom 2^b`` up to 9 bits, four times as much per bit beyond.

    `j_per_step` is the Walden figure of merit, J per step.
    """
    return j_per_step * 2.0 ** (bits + max(0, bits - 9))
