"""What a crossbar is a function of, and the parts that it is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from hwmodel.converter import EXACT_FLOAT32, Adc, Dac
from hwmodel.crossbar.adc_range import plane_adc_step
from hwmodel.crossbar.arrays import TileArrays
from hwmodel.crossbar.chips import ChipKeys, WriteVerifyMode, expected_programming, programmed_chips
from hwmodel.crossbar.fidelity import Fidelity
from hwmodel.crossbar.layout import Layout
from hwmodel.crossbar.readout import BitSerialReadout, IdealReadout, Readout, TileReadout
from hwmodel.crossbar.statistical import StatisticalReadout
from hwmodel.device import DeviceModels, WriteVerifyResult
from hwmodel.errors import CrossbarError


@dataclass(frozen=True, eq=False, slots=True)
class CrossbarParts:
    """What a plan is built into.

    Attributes
    ----------
    adc
        Converter with the step that the fidelity needs.
    arrays
        Cells.
    readout
        What turns input codes into output codes.
    programming
        What write-verify took on each node.
    """

    adc: Adc
    arrays: TileArrays
    readout: Readout
    programming: Sequence[WriteVerifyResult]


@dataclass(frozen=True, eq=False, slots=True)
class CrossbarPlan:
    """A crossbar before it is programmed; the same plan always gives the same chips.

    Attributes
    ----------
    weights
        As given, float64 ``[out, in]``.
    layout
        The weights on tiles.
    keys
        What names the chips.
    models, age_s
        What makes cells differ from their targets, and when they are looked at, s after programming.
    fidelity, write_verify
        As for `Crossbar.program`.
    adc_step
        Partial-sum units per ADC code of whole input codes.
    input_rms
        Expected rms of the input codes.
    """

    weights: Tensor
    layout: Layout
    keys: ChipKeys
    models: DeviceModels
    age_s: float
    fidelity: Fidelity
    write_verify: WriteVerifyMode
    adc_step: int
    input_rms: float

    @property
    def input_planes(self) -> int:
        """How many conversions of one vector are shifted and added: magnitude bits, or 1 for whole codes."""
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
                return CrossbarParts(adc, layout.targets, IdealReadout(self.weights), programming)
            statistical = StatisticalReadout.of(layout, keys, adc, models, self.age_s)
            return CrossbarParts(adc, statistical.arrays, statistical, programming)
        cells, programming = programmed_chips(layout, keys, models, self.age_s, self.write_verify)
        tiles = TileReadout(layout, keys, TileArrays(cells), adc, models.read_noise)
        readout = BitSerialReadout(tiles, Dac(preset.converter.dac_bits)) if serial else tiles
        return CrossbarParts(adc, tiles.arrays, readout, programming)


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
