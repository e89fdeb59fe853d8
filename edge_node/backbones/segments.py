"""Segments of samples that take time: what a stage's LoRA acts on, summed while a machine runs.

Of every segment a sample's codes have the mean of A x of each layer that feeds the neurons, then the mean of what drove
the neurons, y, on the grids of `edge_node.recognition.lora.stage` (docs/adr/0028).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.backbones import rounded_mean
from edge_node.backbones.random_signs import keyed_signs
from edge_node.errors import EngineError
from hwmodel import Cost, Preset, cost


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """Inputs of one crossbar layer as a LoRA beside it reads them.

    Attributes
    ----------
    a
        Signs of A, float64 ``[rank, inputs]``, the same on all nodes.
    unit
        Codes of A x of a sum of 1, as numerator and denominator.
    """

    a: Tensor
    unit: tuple[int, int]

    @classmethod
    def of(cls, rank: int, inputs: int, fleet_seed: int, layer: str, unit: tuple[int, int]) -> LayerInputs:
        """Draw A of a layer from the fleet's seed."""
        return cls(keyed_signs(rank, inputs, fleet_seed, "lora.a", layer, rank, inputs).double(), unit)


class SegmentSums:
    """Sums by segment over samples of N nodes.

    Parameters
    ----------
    stage
        Its rank is shared out among the layers, in their order.
    layers
        That feed the neurons.
    drive_unit
        Codes of y of a drive of 1, as numerator and denominator.
    lengths
        Frames of each sample, int64 [S]: as many as there are segments, at least.
    """

    def __init__(
        self,
        stage: LoraStage,
        layers: Sequence[LayerInputs],
        drive_unit: tuple[int, int],
        nodes: int,
        lengths: Tensor,
    ) -> None:
        if sum(len(layer.a) for layer in layers) != stage.rank:
            raise EngineError(f"A of all layers has {sum(len(layer.a) for layer in layers)} rows; not {stage.rank}")
        self._stage, self._layers, self._lengths = stage, layers, lengths
        self._units = [(layer.unit, len(layer.a)) for layer in layers] + [(drive_unit, stage.neurons)]
        width = stage.rank + stage.neurons
        self._sums = torch.zeros(nodes, len(lengths) * stage.segments, width, dtype=torch.int64)

    def add(self, sample: Tensor, frame: Tensor | int, inputs: Sequence[Tensor], drives: Tensor) -> None:
        """Add one frame of some samples.

        Parameters
        ----------
        sample, frame
            Which samples, and which frame of each, int64 [B].
        inputs
            Of each layer, integers ``[B, in]`` or ``[N, B, in]``.
        drives
            Of the neurons, integers ``[N, B, neurons]``.
        """
        where = sample * self._stage.segments + frame * self._stage.segments // self._lengths[sample]
        # Sums of signed integers are exact.
        seen = [(x.double() @ layer.a.mT).long() for x, layer in zip(inputs, self._layers, strict=True)]
        whole = torch.cat([part.expand(len(drives), -1, -1) for part in seen] + [drives.long()], dim=2)
        self._sums.index_add_(1, where, whole)

    def codes(self) -> Tensor:
        """Return the codes of the samples, int32 ``[N, S, features]``."""
        segments = self._stage.segments
        # Frame t is in segment p if t P // L = p.
        first = (torch.arange(segments + 1) * self._lengths[:, None] + segments - 1) // segments
        frames = first.diff(dim=1).reshape(1, -1, 1)
        parts, start = [], 0
        for (up, down), width in self._units:
            parts.append(rounded_mean(self._sums[..., start : start + width] * up, frames * down))
            start += width
        return (
            torch.cat(parts, dim=2).reshape(len(self._sums), len(self._lengths), self._stage.features).to(torch.int32)
        )

    def cost(self, preset: Preset) -> Cost:
        """Return what A x of all frames takes on a node, and the sums."""
        macs = sum(layer.a.numel() for layer in self._layers) + self._sums.shape[2]
        return cost.digital_macs(preset, int(self._lengths.sum()) * macs, cost.Precision.INT8)
