"""Energy, time and wear, in closed form: of single operations, of whole designs, with their uncertainty.

The formulas of operations (`products`, `writes`, `digital`) count work; all physical numbers, and their sources, are in
the preset. Time is of one node, operations in sequence; what runs in parallel on the chip is said where it does. Each
takes a `Preset` and returns a `Cost`, or a `PresetSample` and returns `CostDraws`.

The forms are those of NeuroSim, ISAAC and AccelForge, simplified to what a preset can name: area, data- dependent
activity and routing are not in them.
"""

from hwmodel.converter import conversion_j
from hwmodel.cost.digital import (
    ADAM_ACCESSES,
    Precision,
    deploy,
    digital_macs,
    dram_read,
    erase,
    lora_forward,
    lora_training_step,
    lora_update,
    radio,
    sram_read,
    sram_write,
)
from hwmodel.cost.pricing import AnyCost, CostDraws, Technology
from hwmodel.cost.products import MvmEnergy, crossbar_cells, crossbar_mvm, crossbar_mvm_energy
from hwmodel.cost.writes import (
    BYTES_PER_TARGET,
    adaptations_left,
    program_cells,
    program_weights,
    update_cells,
    update_weights,
)

__all__ = [
    "ADAM_ACCESSES",
    "BYTES_PER_TARGET",
    "AnyCost",
    "CostDraws",
    "MvmEnergy",
    "Precision",
    "Technology",
    "adaptations_left",
    "conversion_j",
    "crossbar_cells",
    "crossbar_mvm",
    "crossbar_mvm_energy",
    "deploy",
    "digital_macs",
    "dram_read",
    "erase",
    "lora_forward",
    "lora_training_step",
    "lora_update",
    "program_cells",
    "program_weights",
    "radio",
    "sram_read",
    "sram_write",
    "update_cells",
    "update_weights",
]
