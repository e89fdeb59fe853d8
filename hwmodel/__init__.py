"""Physics and cost of a hybrid analogue-digital compute-in-memory chip. Knows no network and no fleet."""

from hwmodel import cost
from hwmodel.converter import EXACT_FLOAT32, Adc, Dac, conversion_j
from hwmodel.cost import CostDraws, Precision, Technology
from hwmodel.cost.sampling import (
    PresetSample,
    SampledSection,
    drawn_paths,
    sample_preset,
    sweep_preset,
)
from hwmodel.crossbar import ADC_RANGE_SIGMAS, Crossbar, Fidelity, default_adc_step, plane_adc_step
from hwmodel.crossbar.mapping import (
    CellPlane,
    DifferentialMapping,
    OffsetMapping,
    SlicedMapping,
    WeightMapping,
    combined_slices,
    mapping_of,
)
from hwmodel.device.cells import cell_levels
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
    PROGRAMMING_ERROR_FITS,
    ConstantProgrammingError,
    FittedProgrammingError,
    ProgrammingError,
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
    age_step_s,
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
from hwmodel.errors import (
    ConverterError,
    CostError,
    CrossbarError,
    DeviceError,
    HwModelError,
    LedgerError,
    MappingError,
    NetworkError,
    PresetError,
    SamplingError,
    StreamKeyError,
)
from hwmodel.ledger import Cost, EnergyLedger, LedgerMark, Phase
from hwmodel.networks import LayerSpec, NetworkSpec, TrainingFacts, load_network, network_names
from hwmodel.nn import (
    AnalogConv2d,
    AnalogLayer,
    AnalogLinear,
    DigitalPart,
    Meter,
    ProgrammedLayer,
    ProgrammedModel,
    program,
)
from hwmodel.presets.preset import Preset, load_preset, preset_names, preset_text
from hwmodel.presets.technology import ModelNames, Quantity, is_structure
from hwmodel.streams import keyed_generator, keyed_normal, keyed_seed, keyed_uint16, keyed_uint16_rows, normal_quantiles

__all__ = [
    "ADC_RANGE_SIGMAS",
    "EXACT_FLOAT32",
    "PROGRAMMING_ERROR_FITS",
    "Adc",
    "AnalogConv2d",
    "AnalogLayer",
    "AnalogLinear",
    "CellKey",
    "CellPlane",
    "CmoRelaxation",
    "ConductanceShift",
    "ConductanceWindow",
    "ConstantProgrammingError",
    "ConverterError",
    "Cost",
    "CostDraws",
    "CostError",
    "Crossbar",
    "CrossbarError",
    "Dac",
    "DeviceError",
    "DeviceModels",
    "DifferentialMapping",
    "DigitalPart",
    "EnergyLedger",
    "Fidelity",
    "FittedProgrammingError",
    "HwModelError",
    "IrDrop",
    "LayerSpec",
    "LedgerError",
    "LedgerMark",
    "MappingError",
    "Meter",
    "ModelNames",
    "NetworkError",
    "NetworkSpec",
    "NoRelaxation",
    "OffsetMapping",
    "Phase",
    "Precision",
    "Preset",
    "PresetError",
    "PresetSample",
    "ProgrammedLayer",
    "ProgrammedModel",
    "ProgrammingError",
    "PulseComparison",
    "Quantity",
    "ReadNoise",
    "Relaxation",
    "SampledError",
    "SampledSection",
    "SamplingError",
    "SimulatedWriteVerify",
    "SlicedMapping",
    "StreamKeyError",
    "StuckCells",
    "Technology",
    "TrainingFacts",
    "WanRelaxation",
    "WeightMapping",
    "WriteVerifyResult",
    "age_step_s",
    "cell_levels",
    "combined_slices",
    "conversion_j",
    "cost",
    "default_adc_step",
    "drawn_paths",
    "expected_write_verify",
    "fit_tolerance_us",
    "is_structure",
    "keyed_generator",
    "keyed_normal",
    "keyed_seed",
    "keyed_uint16",
    "keyed_uint16_rows",
    "load_network",
    "load_preset",
    "mapping_of",
    "mean_pulses",
    "network_names",
    "normal_quantiles",
    "plane_adc_step",
    "preset_names",
    "preset_text",
    "program",
    "programming_error_named",
    "programming_error_names",
    "pulses_against_tolerance",
    "pulses_per_cell",
    "relaxation_named",
    "relaxation_names",
    "sample_preset",
    "sampled_programming_error",
    "simulate_write_verify",
    "sweep_preset",
    "verified_variance_us2",
]
