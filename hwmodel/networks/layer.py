"""One weight matrix of a network, and how often it is used."""

from __future__ import annotations

import math
from typing import Annotated, Protocol

from pydantic import Field, model_validator
from torch import Tensor

from hwmodel.errors import NetworkError
from hwmodel.presets.technology import Numbers, Section

Count = Annotated[int, Field(ge=1, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class CountedReads(Protocol):
    """Shape of a layer on N chips, and what they have read: a `hwmodel.Crossbar`, or what is known of one."""

    @property
    def in_features(self) -> int:
        """Inputs."""

    @property
    def out_features(self) -> int:
        """Outputs."""

    @property
    def reads(self) -> Tensor:
        """Vectors multiplied so far, int64 ``[N]``."""

    @property
    def driven(self) -> Tensor:
        """Inputs that drove a row in them, int64 ``[N]``."""


class LayerSpec(Section):
    """One weight matrix.

    Attributes
    ----------
    name
        Unique in its network, e.g. ``"block1.fc1"``.
    inputs, outputs
        n and m of the matrix; of one group if there are several.
    uses
        Products per pass of the network: tokens, positions or time steps.
    groups
        Matrices side by side that share no input (grouped and depthwise convolutions). Such a layer stays digital in
        every design, since on a crossbar most of its cells would be empty.
    digital
        Whether it stays digital in every design for another reason: a layer whose rows come and go.
    lora_rank
        Rank of the LoRA beside it; 0 for none.
    input_density
        Share of inputs that are not zero in a use: 1 but for spikes.
    """

    name: Text
    inputs: Count
    outputs: Count
    uses: Count
    groups: Count = 1
    digital: bool = False
    lora_rank: CountOrZero = 0
    input_density: Share = 1.0

    @model_validator(mode="after")
    def _lora_only_on_one_small_enough_matrix(self) -> LayerSpec:
        if self.lora_rank and self.groups > 1:
            raise ValueError(f"layer {self.name} has groups and a LoRA: a LoRA needs one matrix")
        if self.on_crossbar and self.lora_rank > min(self.inputs, self.outputs):
            raise ValueError(
                f"layer {self.name}: lora_rank {self.lora_rank} is above the rank that a "
                f"{self.inputs} x {self.outputs} matrix can have"
            )
        return self

    @classmethod
    def of_reads(cls, name: str, crossbar: CountedReads, samples: int, node: int = 0) -> LayerSpec:
        """Return the layer that a node's crossbar is, all its reads so far being those of so many samples.

        Uses are rounded to a whole number, and at least 1. Raises `NetworkError` if nothing was read.
        """
        reads, inputs = int(crossbar.reads[node]), crossbar.in_features
        if not (reads and samples >= 1):
            raise NetworkError(f"layer {name}: {reads} reads for {samples} samples tell no uses")
        return cls(
            name=name,
            inputs=inputs,
            outputs=crossbar.out_features,
            uses=max(1, round(reads / samples)),
            # Spikes that never came would be a density of 0, and a product of nothing.
            input_density=max(1, int(crossbar.driven[node])) / (reads * inputs),
        )

    @property
    def on_crossbar(self) -> bool:
        """Whether the weights sit in analogue cells (all but layers with groups, and `digital` ones)."""
        return self.groups == 1 and not self.digital

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.groups * self.inputs * self.outputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates per pass, zeros of the input included."""
        return self.uses * self.weights

    @property
    def lora_parameters(self) -> int:
        """Parameters of the LoRA, ``r (n + m)``."""
        return self.lora_rank * (self.inputs + self.outputs)

    @property
    def lora_macs(self) -> int:
        """Multiply-accumulates of the LoRA per pass, zeros of the input included."""
        return self.uses * self.lora_parameters

    @property
    def lora_active_macs(self) -> float:
        """Multiply-accumulates of the LoRA per pass that a zero input does not spare.

        ``uses r (density n + m)``: A skips absent spikes, but A x is dense, so B does not.
        """
        return self.uses * self.lora_rank * (self.input_density * self.inputs + self.outputs)

    def tiles(self, chip: Numbers) -> int:
        """Return the tiles that the layer takes on a preset or sample; 0 if it stays digital."""
        if not self.on_crossbar:
            return 0
        tile = chip.tile
        columns = self.outputs * tile.cells_per_weight * tile.weight_slices
        return math.ceil(self.inputs / tile.rows) * math.ceil(columns / tile.columns)
