"""Range of partial sums that the ADCs of a layer cover."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hwmodel.converter import Dac
from hwmodel.errors import CrossbarError
from hwmodel.presets.preset import Preset

#: The default ADC range covers this many standard deviations of the expected partial sums.
ADC_RANGE_SIGMAS = 4.0


def default_adc_step(levels: Tensor, preset: Preset, input_rms: float | None = None) -> int:
    """Return the ADC step that covers `ADC_RANGE_SIGMAS` sigmas of the widest column's partial sums.

    The partial sum of independent, centred inputs has ``sigma = input_rms sqrt(sum of level^2)``. Levels are those of
    the ideal columns, int32 ``[in, columns]``; `input_rms` is that of codes spread evenly over the DAC's range if None.
    Raises `CrossbarError` if `input_rms` is not in (0, largest DAC code].
    """
    input_rms = checked_input_rms(preset, input_rms)
    squares = levels.to(torch.int64).square()
    rows = preset.tile.rows
    widest = max(int(squares[top : top + rows].sum(dim=0).max()) for top in range(0, len(squares), rows))
    adc_bits = preset.converter.adc_bits
    step = math.ceil(ADC_RANGE_SIGMAS * input_rms * math.sqrt(widest) / ((1 << (adc_bits - 1)) - 1))
    return max(1, step)


def plane_adc_step(adc_step: int, preset: Preset, input_rms: float | None = None) -> int:
    """Return the ADC step for one plane of input bits that goes with a step for whole codes.

    Half of the bits of evenly spread codes are set, so a plane has an rms of ``sqrt(1/2)``; its range covers as many
    sigmas as that of whole codes does. The planes together then resolve about as much as one conversion of the whole
    codes: ``(2^(bits-1) - 1) plane_step / 2`` against ``step / 2``. Raises `CrossbarError` as for `default_adc_step`.
    """
    return max(1, math.ceil(adc_step * math.sqrt(0.5) / checked_input_rms(preset, input_rms)))


def checked_input_rms(preset: Preset, input_rms: float | None) -> float:
    """Return the rms of input codes: as given, or that of codes spread evenly over the DAC's range.

    Raises `CrossbarError` if it is not in (0, largest DAC code].
    """
    largest = Dac(preset.converter.dac_bits).max_code
    if input_rms is None:
        return largest / math.sqrt(3)
    if not 0 < input_rms <= largest:
        raise CrossbarError(f"input_rms must lie in 0 ... {largest} DAC codes; got {input_rms}")
    return input_rms
