"""Plan of a crossbar, all that it is a function of, and the parts that it is built into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from hwmodel.converter import EXACT_FLOAT32, Adc, Dac
from hwmodel.crossbar.adc_range import plane_adc_step
from hwmodel.crossbar.arrays import TileArrays
from hwmodel.crossbar.chips import ChipKeys, WriteVerifyMode, expected_programming, programmed_chips
from hwmodel.crossbar.fidelity import Fidelity
from hwmodel.crossbar.layout import Layout
from hwmodel.crossbar.readout import TileReadout
from hwmodel.crossbar.statistical import StatisticalReadout
from hwmodel.device.models import DeviceModels
from hwmodel.device.write_verify import WriteVerifyResult
from hwmodel.errors import CrossbarError

#: Multiplies codes ``[n, B, in]`` by the chips of the nodes in the slice: ``[n, B, out]``. The last argument has the
#: numbers of the reads, int64 ``[n, B]``; only noise looks at it.
Read = Callable[[Tensor, slice, Tensor], Tensor]


@dataclass(frozen=True, eq=False, slots=True)
class CrossbarParts:
    """Converter, cells and read-out of a crossbar."""

    adc: Adc  #: with the step that the fidelity needs
    arrays: TileArrays
    read: Read
    programming: Sequence[WriteVerifyResult]  #: on each node


@dataclass(frozen=True, eq=False, slots=True)
class CrossbarPlan:
    """A crossbar before it is programmed; the same plan always gives the same chips."""

    weights: Tensor  #: as given, float64 ``[out, in]``
    layout: Layout
    keys: ChipKeys
    models: DeviceModels
    age_s: float
    fidelity: Fidelity  #: as for `Crossbar.program`
    write_verify: WriteVerifyMode
    adc_step: int  #: partial-sum units per ADC code of whole input codes
    input_rms: float  #: expected rms of the input codes

    @property
    def input_planes(self) -> int:
        """Conversions of one vector that are shifted and added: magnitude bits, or 1 for whole codes."""
        return self.layout.preset.converter.dac_bits - 1 if self.fidelity is Fidelity.BIT_SERIAL else 1

    def build(self) -> CrossbarParts:
        """Program the cells of every node.

        Raises `CrossbarError` if the write-verify mode is unknown or needs cells that the fidelity does not have, or
        sums would not be exact; `ConverterError` if the ADC cannot have this step; `DeviceError` if a model does not
        cover the conductances, the age or the voltage drop.
        """
        _check_write_verify(self.write_verify, self.fidelity)
        layout, keys, models, preset = self.layout, self.keys, self.models, self.layout.preset
        serial = self.fidelity is Fidelity.BIT_SERIAL
        step = plane_adc_step(self.adc_step, preset, self.input_rms) if serial else self.adc_step
        adc = Adc(preset.converter.adc_bits, step)
        _check_exact(layout, models, adc, input_planes=self.input_planes)
        if not self.fidelity.has_chips:
            programming = expected_programming(layout, models, len(keys.nodes))
            if self.fidelity is Fidelity.IDEAL:
                return CrossbarParts(adc, layout.targets, self._read_ideal, programming)
            statistical = StatisticalReadout.of(layout, keys, adc, models, self.age_s)
            return CrossbarParts(adc, statistical.arrays, statistical.read, programming)
        cells, programming = programmed_chips(layout, keys, models, self.age_s, self.write_verify)
        tiles = TileReadout(layout, keys, TileArrays(cells, layout.inputs), adc, models.read_noise)
        return CrossbarParts(adc, tiles.arrays, tiles.read_bits if serial else tiles.read, programming)

    def _read_ideal(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        return codes.to(torch.float64) @ self.weights.t()


def _check_write_verify(write_verify: str, fidelity: Fidelity) -> None:
    if write_verify not in get_args(WriteVerifyMode):
        known = " or ".join(repr(mode) for mode in get_args(WriteVerifyMode))
        raise CrossbarError(f"write_verify is {known}; got {write_verify!r}")
    if write_verify == "pulse-by-pulse" and not fidelity.has_chips:
        raise CrossbarError(
            f"fidelity {fidelity.value!r} has no cells to pulse one by one: use 'closed-form', or "
            "'tile-accurate' or 'bit-serial'"
        )


def _check_exact(layout: Layout, models: DeviceModels, adc: Adc, *, input_planes: int) -> None:
    """Refuse a geometry whose largest sums are not exact (DESIGN.md, principle 3)."""
    preset, window = layout.preset, layout.window
    code = Dac(preset.converter.dac_bits).max_code
    span = window.ceiling_level - window.floor_level
    if models.ir_drop.present:
        # Of two cells at the floor, the one with the larger drop may count as less.
        span += int(window.floor_level * models.ir_drop.max_drop)
    noise = models.read_noise.largest(layout.rows * code * code, layout.cells_per_output, window)
    largest = layout.rows * code * span + noise + adc.step // 2
    if largest >= EXACT_FLOAT32:
        raise CrossbarError(
            f"preset {preset.name}: {layout.rows} rows x {preset.converter.dac_bits}-bit codes x {span} "
            f"levels, read noise of up to {noise} and half an ADC step of {adc.step} sum up to {largest}, "
            f"which float32 does not hold exactly (limit {EXACT_FLOAT32}): use fewer rows, a coarser "
            "conductance_grid_us or fewer dac_bits"
        )
    shifted = sum(layout.mapping.slice_factors) * ((1 << input_planes) - 1)
    sums = layout.row_tiles * shifted * -adc.min_code
    if sums >= 1 << 31:
        raise CrossbarError(
            f"preset {preset.name}: {layout.row_tiles} row tiles of {preset.converter.adc_bits}-bit codes, "
            f"shifted by weight slices and input bits, add up to {sums}, beyond int32: use fewer or narrower "
            "slices"
        )
