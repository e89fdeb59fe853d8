"""Backbone of a small chip that hears cepstra: a reservoir of a few units, captured for a LoRA beside both layers.

See `edge_node.backbones.reservoir` for the machine. Of every segment the codes have A h of the recurrent layer, A u of
the entry layer, and the mean argument of tanh (docs/adr/0028). The LoRA acts on the course that the chip took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.backbones.coding import InputCoding
from edge_node.backbones.reservoir import Reservoir, Run
from edge_node.backbones.segments import LayerInputs, SegmentSums
from hwmodel import EnergyLedger, Phase, Preset

_RECURRENT_UNIT, _ENTRY_UNIT, _DRIVE_UNIT = (1, 4), (1, 4), (1, 2)


@dataclass(frozen=True, eq=False)
class SmallReservoir:
    """Small reservoirs of N chips.

    Attributes
    ----------
    reservoir
        The machine.
    recurrent, entry
        What the LoRA reads of the inputs of its two layers.
    """

    reservoir: Reservoir
    recurrent: LayerInputs
    entry: LayerInputs
    _stage: LoraStage
    _preset: Preset

    @classmethod
    def program(
        cls,
        coding: InputCoding,
        stage: LoraStage,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
    ) -> SmallReservoir:
        """Program the random matrices into every node's crossbars; charged to `Phase.PROGRAM`."""
        machine = Reservoir.program(coding, preset, fleet_seed, node_ids, ledger, stage.neurons)
        half = stage.rank // 2
        recurrent = LayerInputs.of(half, stage.neurons, fleet_seed, "recurrent", _RECURRENT_UNIT)
        entry = LayerInputs.of(stage.rank - half, coding.channels + 1, fleet_seed, "entry", _ENTRY_UNIT)
        return cls(machine, recurrent, entry, stage, preset)

    @property
    def features(self) -> int:
        """Codes per sample."""
        return self._stage.features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.reservoir.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples, float32 [frames, channels], through every chip; see `Backbone.capture`."""
        run = Run.of(self.reservoir.coding, samples)
        layers, nodes = (self.recurrent, self.entry), len(self.cell_writes)
        sums = SegmentSums(self._stage, layers, _DRIVE_UNIT, nodes, run.lengths)
        for t, frame in enumerate(self.reservoir.frames(run, ledger, phase)):
            running = torch.arange(frame.state.shape[1])
            sums.add(running, t, (frame.held, frame.inputs), frame.argument)
        codes = torch.empty(nodes, len(samples), self.features, dtype=torch.int32)
        codes[:, run.order] = sums.codes()
        ledger.charge(phase, sums.cost(self._preset))
        return codes
