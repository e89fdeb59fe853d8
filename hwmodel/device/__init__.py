"""The ReRAM cell: window, programming error, relaxation, noise, faults, write-verify and wear.

Each model is a class of its own with its formula, source, units and the range it was measured in, and knows nothing of
the others; `DeviceModels` names the ones that a chip is made with, and `cell_levels` puts them together. Conductances
are whole numbers of grid steps ("levels"), so what is built on them is exact.
"""

from hwmodel.device.cells import cell_levels
from hwmodel.device.endurance import Endurance
from hwmodel.device.fits import (
    PulseComparison,
    SampledError,
    fit_tolerance_us,
    pulses_against_tolerance,
    sampled_programming_error,
)
from hwmodel.device.ir_drop import IrDrop
from hwmodel.device.keys import CellKey
from hwmodel.device.models import DeviceModels
from hwmodel.device.programming_error import (
    CmoProgrammingError,
    ConstantProgrammingError,
    MiloProgrammingError,
    ProgrammingError,
    WanCrossSimProgrammingError,
    WanProgrammingError,
    programming_error_named,
    programming_error_names,
)
from hwmodel.device.pulse_law import mean_pulses, pulses_per_cell, verified_variance_us2
from hwmodel.device.read_noise import ReadNoise
from hwmodel.device.relaxation import (
    CmoRelaxation,
    ConductanceShift,
    NoRelaxation,
    Relaxation,
    WanRelaxation,
    relaxation_named,
    relaxation_names,
)
from hwmodel.device.stuck import StuckCells
from hwmodel.device.window import ConductanceWindow
from hwmodel.device.write_verify import (
    SimulatedWriteVerify,
    WriteVerifyResult,
    expected_write_verify,
    simulate_write_verify,
)

__all__ = [
    "CellKey",
    "CmoProgrammingError",
    "CmoRelaxation",
    "ConductanceShift",
    "ConductanceWindow",
    "ConstantProgrammingError",
    "DeviceModels",
    "Endurance",
    "IrDrop",
    "MiloProgrammingError",
    "NoRelaxation",
    "ProgrammingError",
    "PulseComparison",
    "ReadNoise",
    "Relaxation",
    "SampledError",
    "SimulatedWriteVerify",
    "StuckCells",
    "WanCrossSimProgrammingError",
    "WanProgrammingError",
    "WanRelaxation",
    "WriteVerifyResult",
    "cell_levels",
    "expected_write_verify",
    "fit_tolerance_us",
    "mean_pulses",
    "programming_error_named",
    "programming_error_names",
    "pulses_against_tolerance",
    "pulses_per_cell",
    "relaxation_named",
    "relaxation_names",
    "sampled_programming_error",
    "simulate_write_verify",
    "verified_variance_us2",
]
