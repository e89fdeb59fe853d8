"""Backbone of a small chip: a bank of features, then one layer of random signs with few columns.

What is captured of a sample is what a LoRA beside the layer needs (docs/adr/0028), in one vector of codes::

    x      feature codes, centred on what public people have on average on a flawless chip, within 8 bits
    A x    `rank` sums of x with random signs, over `PROJECTED_DIVISOR`           (digital)
    y      `neurons` sums of x with random signs, on tiles                        (analogue)
    f      A x, then y

Nothing personal is in it: signs follow from the fleet's seed, and the mean from public people alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.backbones import Backbone
from edge_node.backbones.random_signs import keyed_signs, program_signs
from edge_node.errors import EngineError
from hwmodel import Crossbar, EnergyLedger, Phase, Preset, cost

#: Name of the layer.
LAYER = "hidden"
#: Signs times codes over this are codes of A x, whose unit is `edge_node.recognition.lora.stage.PROJECTED_BITS`.
PROJECTED_DIVISOR = 64
_FULL_CODE = 127
#: Root mean square of centred feature codes of public faces, after saturation; it only sets the ADC range.
_CODE_RMS = 40.0


@dataclass(frozen=True, eq=False)
class SmallLayer:
    """Small layers of N chips behind a bank of features.

    Attributes
    ----------
    front
        Makes x before centring.
    layer
        Signs ``[neurons, inputs]`` on the tiles of every node.
    a
        Signs of A, float64 ``[rank, inputs]``, the same on all nodes.
    centre
        Int32 ``[inputs]``, the same on all nodes: what a chip is off by is taken from its codes when it is calibrated.
    """

    front: Backbone
    layer: Crossbar
    a: Tensor
    centre: Tensor
    _preset: Preset

    @classmethod
    def program(
        cls,
        front: Backbone,
        stage: LoraStage,
        centre: Tensor,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
    ) -> SmallLayer:
        """Program the layer behind a front that is programmed; charged to `Phase.PROGRAM`.

        `EngineError` if the stage has several segments.
        """
        if stage.segments != 1:
            raise EngineError(f"this backbone has one segment a sample; the stage has {stage.segments}")
        layer = program_signs(
            preset,
            fleet_seed,
            node_ids,
            ledger,
            layer=LAYER,
            outputs=stage.neurons,
            inputs=front.features,
            input_rms=_CODE_RMS,
        )
        a = keyed_signs(stage.rank, front.features, fleet_seed, "lora.a", stage.rank, front.features).double()
        return cls(front, layer, a, centre, preset)

    @property
    def features(self) -> int:
        """Codes per sample."""
        return len(self.a) + self.layer.out_features

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.front.cell_writes + self.layer.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples through every chip; see `Backbone.capture`."""
        x = (self.front.capture(samples, ledger, phase) - self.centre).clamp_(-_FULL_CODE, _FULL_CODE)
        drives = self.layer.mvm(x, ledger=ledger, phase=phase)
        # Sums of signed integers are exact, and so is a division by a power of two before it is rounded.
        projected = (x.double() @ self.a.mT).div_(PROJECTED_DIVISOR).round_().to(torch.int32)
        ledger.charge(phase, cost.digital_macs(self._preset, len(samples) * self.a.numel(), cost.Precision.INT8))
        return torch.cat([projected, drives.to(torch.int32)], dim=2)
