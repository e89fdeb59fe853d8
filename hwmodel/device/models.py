"""The models of a cell that a chip is made with, chosen by a preset or one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwmodel.device.ir_drop import IrDrop
from hwmodel.device.programming_error import ConstantProgrammingError, ProgrammingError, programming_error_named
from hwmodel.device.read_noise import ReadNoise
from hwmodel.device.relaxation import NoRelaxation, Relaxation, relaxation_named
from hwmodel.device.stuck import StuckCells
from hwmodel.errors import DeviceError
from hwmodel.presets.preset import Preset


@dataclass(frozen=True, slots=True)
class DeviceModels:
    """Everything that makes a cell differ from its target; what is not given is ideal.

    The models are independent of each other: `dataclasses.replace` swaps one, e.g. ``replace(DeviceModels.of(preset),
    stuck_cells=StuckCells(0.01, 0))``.

    Attributes
    ----------
    programming_error, relaxation, stuck_cells
        What `cell_levels` puts into the cells.
    ir_drop
        How much of a cell its column's amplifier sees.
    read_noise
        What every read adds.
    """

    programming_error: ProgrammingError
    relaxation: Relaxation = field(default_factory=NoRelaxation)
    read_noise: ReadNoise = field(default_factory=lambda: ReadNoise(0.0))
    stuck_cells: StuckCells = field(default_factory=lambda: StuckCells(0.0, 0.0))
    ir_drop: IrDrop = field(default_factory=lambda: IrDrop(0.0, 0.0))

    @classmethod
    def of(cls, preset: Preset) -> DeviceModels:
        """Return what the preset names and numbers; the activity of IR drop is its mean-square drive.

        Raises `DeviceError` if the preset's window reaches beyond the conductances that its programming error or its
        relaxation covers.
        """
        cell, read, names = preset.cell, preset.read, preset.models
        error = programming_error_named(names.programming_error, preset)
        relaxation = relaxation_named(names.relaxation)
        for what, model in (
            (f"programming error {names.programming_error!r}", error),
            (f"relaxation {names.relaxation!r}", relaxation),
        ):
            if cell.conductance_min_us < model.low_us or cell.conductance_max_us > model.high_us:
                raise DeviceError(
                    f"preset {preset.name}: the window of {cell.conductance_min_us:g} to "
                    f"{cell.conductance_max_us:g} uS reaches beyond the {model.low_us:g} to "
                    f"{model.high_us:g} uS that {what} covers: narrow the window or choose another model"
                )
        return cls(
            programming_error=error,
            relaxation=relaxation,
            read_noise=ReadNoise(cell.read_noise_us),
            stuck_cells=StuckCells(cell.stuck_low_share, cell.stuck_high_share),
            ir_drop=IrDrop(read.wire_resistance_ohm, read.mean_square_drive),
        )

    @classmethod
    def ideal(cls) -> DeviceModels:
        """Return models under which every cell holds its target for ever."""
        return cls(ConstantProgrammingError(0.0))
