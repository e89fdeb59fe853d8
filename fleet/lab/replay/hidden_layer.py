"""Second layer on crossbars, random signs: what a LoRA in front of the output has to act on.

Behind a bank of features (`FilterBank`, `Reservoir`) it multiplies their centred codes by random signs, and what a
person leaves on a chip are two integer vectors, captured once: the codes that drove the layer, and what the layer made
of them. From both, everything that gradient training needs follows digitally::

    h = max(y + B (A x), 0)        x int32 [inputs], y = W x int32 [hidden], B (A x) the LoRA

so that training, and replaying it, never reads the chip again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.backbones import rounded_mean
from edge_node.backbones.random_signs import keyed_signs
from edge_node.errors import SampleError
from hwmodel import Crossbar, DeviceModels, EnergyLedger, Phase, Preset

_FULL_CODE = 127
#: Root mean square of centred feature codes of public faces, after saturation; it only sets the ADC range.
_CODE_RMS = 40.0


@dataclass(frozen=True, eq=False)
class PairCodes:
    """Codes of samples on a chip, captured once: what drove the layer, and what the layer answered.

    `inputs`, x, are int32 ``[..., samples, inputs]`` and `drives`, y, int32 ``[..., samples, hidden]``.
    """

    inputs: Tensor
    drives: Tensor

    def __post_init__(self) -> None:
        both = (self.inputs, self.drives)
        if any(t.dtype != torch.int32 for t in both) or self.inputs.shape[:-1] != self.drives.shape[:-1]:
            raise SampleError(
                "captured pairs are int32 [..., samples, inputs] and [..., samples, hidden]; got "
                f"{self.inputs.dtype} {list(self.inputs.shape)} and {self.drives.dtype} "
                f"{list(self.drives.shape)}"
            )

    def at(self, *index: int | slice | Tensor) -> PairCodes:
        """Return the pairs at an index of the leading axes, e.g. ``at(node, slice(0, 3))``."""
        return PairCodes(self.inputs[index], self.drives[index])

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.inputs.shape[-2]


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Random-sign layer of N chips: ``[hidden, inputs]`` on the tiles of every node."""

    crossbar: Crossbar

    @classmethod
    def program(
        cls,
        inputs: int,
        hidden: int,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger | None = None,
        models: DeviceModels | None = None,
    ) -> HiddenLayer:
        """Program the signs into every node's crossbars, charged to `Phase.PROGRAM`."""
        return cls(
            Crossbar.program(
                hidden_signs(fleet_seed, inputs, hidden),
                preset,
                fleet_seed=fleet_seed,
                nodes=node_ids,
                layer="hidden",
                input_rms=_CODE_RMS,
                ledger=ledger,
                models=models,
            )
        )

    def capture(self, features: Tensor, ledger: EnergyLedger | None = None, phase: Phase = Phase.INFER) -> PairCodes:
        """Drive the layer with feature codes, integers ``[N, B, inputs]``, saturated at the DAC's range."""
        inputs = features.clamp(-_FULL_CODE, _FULL_CODE).to(torch.int32)
        return PairCodes(inputs, self.crossbar.mvm(inputs, ledger=ledger, phase=phase))


def hidden_signs(fleet_seed: int, inputs: int, hidden: int) -> Tensor:
    """Return the layer's targets, float32 ``[hidden, inputs]`` of +-1: the same on every chip of a fleet."""
    return keyed_signs(hidden, inputs, fleet_seed, "backbone.hidden", inputs, hidden)


def public_centre(drives: Tensor) -> Tensor:
    """Return each chip's integer mean of ``max(y, 0)``, int32 ``[N, hidden]``, of ``[N, P, hidden]``."""
    total = drives.clamp(min=0).sum(dim=-2, dtype=torch.int64)
    return rounded_mean(total, drives.shape[-2]).to(torch.int32)
