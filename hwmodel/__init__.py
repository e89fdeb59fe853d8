"""Physics and cost of a hybrid analogue-digital compute-in-memory chip. Knows no network and no fleet."""

from hwmodel import cost
from hwmodel.converter import EXACT_FLOAT32, Adc, Dac
from hwmodel.cost import Precision
from hwmodel.crossbar import ADC_RANGE_SIGMAS, Crossbar, default_adc_step
from hwmodel.device import (
    ConductanceWindow,
    ConstantProgrammingError,
    Endurance,
    ProgrammingError,
    programmed_levels,
    programming_pulses,
    pulses_per_cell,
)
from hwmodel.errors import (
    ConverterError,
    CostError,
    CrossbarError,
    DeviceError,
    HwModelError,
    LedgerError,
    MappingError,
    PresetError,
    StreamKeyError,
)
from hwmodel.ledger import Cost, EnergyLedger, LedgerMark, Phase
from hwmodel.mapping import CellPlane, DifferentialMapping, OffsetMapping, WeightMapping, mapping_of
from hwmodel.preset import Preset, Quantity, load_preset, preset_names
from hwmodel.streams import keyed_generator, keyed_normal, keyed_seed, keyed_uint16, normal_quantiles

__all__ = [
    "ADC_RANGE_SIGMAS",
    "EXACT_FLOAT32",
    "Adc",
    "CellPlane",
    "ConductanceWindow",
    "ConstantProgrammingError",
    "ConverterError",
    "Cost",
    "CostError",
    "Crossbar",
    "CrossbarError",
    "Dac",
    "DeviceError",
    "DifferentialMapping",
    "Endurance",
    "EnergyLedger",
    "HwModelError",
    "LedgerError",
    "LedgerMark",
    "MappingError",
    "OffsetMapping",
    "Phase",
    "Precision",
    "Preset",
    "PresetError",
    "ProgrammingError",
    "Quantity",
    "StreamKeyError",
    "WeightMapping",
    "cost",
    "default_adc_step",
    "keyed_generator",
    "keyed_normal",
    "keyed_seed",
    "keyed_uint16",
    "load_preset",
    "mapping_of",
    "normal_quantiles",
    "preset_names",
    "programmed_levels",
    "programming_pulses",
    "pulses_per_cell",
]
