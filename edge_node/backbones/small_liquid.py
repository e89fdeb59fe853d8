"""Backbone of a small chip that hears sound: a liquid of a few spiking neurons, captured for a LoRA beside both layers.

See `edge_node.backbones.liquid` for the machine. Of every segment the codes have A x of the neurons' spikes, A x of the
channels' spikes, and the mean membrane (docs/adr/0028). The LoRA acts on the course that the chip took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.backbones.liquid import CHANNELS, STEPS, Liquid
from edge_node.backbones.segments import LayerInputs, SegmentSums
from hwmodel import EnergyLedger, Phase, Preset

_RECURRENT_UNIT, _ENTRY_UNIT, _DRIVE_UNIT = (16, 1), (4, 1), (1, 32)


@dataclass(frozen=True, eq=False)
class SmallLiquid:
    """Small liquids of N chips.

    Attributes
    ----------
    liquid
        The machine.
    recurrent, entry
        What the LoRA reads of the inputs of its two layers.
    """

    liquid: Liquid
    recurrent: LayerInputs
    entry: LayerInputs
    _stage: LoraStage
    _preset: Preset

    @classmethod
    def program(
        cls, stage: LoraStage, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger
    ) -> SmallLiquid:
        """Program the random matrices into every node's crossbars; charged to `Phase.PROGRAM`."""
        machine = Liquid.program(preset, fleet_seed, node_ids, ledger, stage.neurons)
        half = stage.rank // 2
        recurrent = LayerInputs.of(half, stage.neurons, fleet_seed, "liquid.recurrent", _RECURRENT_UNIT)
        entry = LayerInputs.of(stage.rank - half, CHANNELS, fleet_seed, "liquid.entry", _ENTRY_UNIT)
        return cls(machine, recurrent, entry, stage, preset)

    @property
    def features(self) -> int:
        """Codes per sample."""
        return self._stage.features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.liquid.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples, float32 [length, 1] at 8 kHz, through every chip; see `Backbone.capture`."""
        runs = self.liquid.runs(samples)
        layers, nodes = (self.recurrent, self.entry), len(self.cell_writes)
        sums = SegmentSums(self._stage, layers, _DRIVE_UNIT, nodes, runs.count * STEPS)
        for part in runs.parts():
            for number, step in enumerate(self.liquid.steps(part, ledger, phase)):
                sums.add(part.owner, part.number * STEPS + number, (step.before, step.spikes), step.membrane)
        self.liquid.charge(runs, samples, ledger, phase)
        ledger.charge(phase, sums.cost(self._preset))
        return sums.codes()
