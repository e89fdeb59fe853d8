"""Specification of a network for the cost model: matrix products, how often each is used, and its LoRA.

A layer is one weight matrix; a *use* is its product with one vector. Counts are exact integers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from hwmodel.errors import NetworkError
from hwmodel.networks.derive import derived_layers
from hwmodel.networks.layer import Count, CountOrZero, LayerSpec, Text
from hwmodel.presets.technology import Name, Numbers, Section


class TrainingFacts(Section):
    """Steps and batch of a network's adaptation.

    Attributes
    ----------
    full_steps, lora_steps
        Optimiser steps of one adaptation: of all weights, and of the LoRA alone.
    """

    full_steps: Count
    lora_steps: Count
    batch: Count
    source: Text


class Lora(Section):
    """Scale of the LoRA, ``y += alpha / r B A x``, and its source."""

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: Text


class Other(Section):
    """Parameters that are in no layer, and what they are."""

    parameters: CountOrZero
    source: Text


class Density(Section):
    """Source of the input densities below 1."""

    source: Text


class NetworkSpec(Section):
    """A network: its layers, its LoRA, and how it was adapted.

    Attributes
    ----------
    name, title, source
        Short name, a line for people, where the numbers come from.
    layers
        In the order in which a pass meets them, names unique.
    passes_per_output
        Passes for one result: 1, or the steps of a diffusion sampler.
    other
        Parameters that are in no layer (gains, biases), and what they are.
    density
        Source of the input densities; must be given if a layer has one below 1.
    lora
        Scale alpha, and its source; must be given if a layer has a LoRA.
    training
        Steps and batch; designs that train need it.
    """

    name: Name
    title: Text
    source: Text
    layers: Annotated[tuple[LayerSpec, ...], Field(min_length=1)]
    passes_per_output: Count = 1
    other: Other | None = None
    density: Density | None = None
    lora: Lora | None = None
    training: TrainingFacts | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> NetworkSpec:
        faults = []
        names = [layer.name for layer in self.layers]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"layer names must be unique; given twice: {', '.join(repeated)}")
        if any(layer.lora_rank for layer in self.layers) and self.lora is None:
            faults.append("a layer has a lora_rank: add [lora] with alpha and source")
        if any(layer.input_density < 1 for layer in self.layers) and self.density is None:
            faults.append("a layer has an input_density below 1: add [density] with its source")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example_input: Tensor | tuple[Any, ...],
        *,
        name: str = "model",
        lora_ranks: Mapping[str, int] | int = 0,
        lora_alpha: float = 1.0,
        training: TrainingFacts | None = None,
        elementwise: Collection[str] = (),
    ) -> NetworkSpec:
        """Derive a network from one forward pass of a torch module.

        Every `nn.Linear` and `nn.Conv2d` becomes a layer, in the order of its first use; its uses are the vectors that
        it multiplies in the pass, over all calls. A convolution is a matrix of ``in/groups * kh * kw`` inputs, used at
        every output position; with groups it stays digital. All other parameters count as digital ones without
        products. Works on the meta device, where it takes no memory. Raises `NetworkError` if no layer is found, a
        layer is not called in the pass, a rank is impossible or names no crossbar layer, or the model has matrices that
        it uses otherwise than through the two layer types (as `nn.MultiheadAttention` does): their products would be
        left out.

        Parameters
        ----------
        model
            The module; it runs once in eval mode, without gradients, and is left as it was.
        example_input
            Input of one example, that is a batch of one, or a tuple of the arguments of `forward`.
        lora_ranks
            Rank of a LoRA beside each crossbar layer, or by layer name (layers left out have none).
        training
            Steps and batch, for designs that train.
        elementwise
            Names of parameters with two or more axes that are in no matrix product: position embeddings.
        """
        layers = derived_layers(model, example_input, lora_ranks=lora_ranks, elementwise=elementwise)
        rest = sum(p.numel() for p in model.parameters()) - sum(layer.weights for layer in layers)
        has_lora = any(layer.lora_rank for layer in layers)
        try:
            return cls(
                name=name,
                title=type(model).__name__,
                source=f"derived from a forward pass of {type(model).__name__}",
                layers=layers,
                other=Other(parameters=rest, source="parameters of the module that are in no layer"),
                lora=Lora(alpha=lora_alpha, source="as given") if has_lora else None,
                training=training,
            )
        except ValidationError as error:
            raise NetworkError("; ".join(fault["msg"] for fault in error.errors())) from error

    @property
    def crossbar_layers(self) -> tuple[LayerSpec, ...]:
        """The layers whose weights are analogue."""
        return tuple(layer for layer in self.layers if layer.on_crossbar)

    @property
    def digital_layers(self) -> tuple[LayerSpec, ...]:
        """The layers that stay digital in every design."""
        return tuple(layer for layer in self.layers if not layer.on_crossbar)

    @property
    def crossbar_weights(self) -> int:
        """Weights in analogue cells, N."""
        return sum(layer.weights for layer in self.crossbar_layers)

    @property
    def parameters(self) -> int:
        """All parameters of the network, without the LoRA."""
        return sum(layer.weights for layer in self.layers) + (self.other.parameters if self.other else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the crossbar layers per pass, M."""
        return sum(layer.macs for layer in self.crossbar_layers)

    @property
    def active_macs(self) -> float:
        """`macs` less those with a zero input: what an event-driven digital unit computes."""
        return sum(layer.macs * layer.input_density for layer in self.crossbar_layers)

    @property
    def digital_macs(self) -> int:
        """Multiply-accumulates per pass of the layers that stay digital."""
        return sum(layer.macs for layer in self.digital_layers)

    @property
    def lora_parameters(self) -> int:
        """Parameters of the LoRA, N_L."""
        return sum(layer.lora_parameters for layer in self.layers)

    @property
    def lora_macs(self) -> int:
        """Multiply-accumulates of the LoRA per pass, M_L."""
        return sum(layer.lora_macs for layer in self.layers)

    @property
    def lora_active_macs(self) -> float:
        """`lora_macs` less those that absent spikes spare; see `LayerSpec.lora_active_macs`."""
        return sum(layer.lora_active_macs for layer in self.layers)

    def tiles(self, chip: Numbers) -> int:
        """Return the tiles that the network takes on a preset or sample."""
        return sum(layer.tiles(chip) for layer in self.layers)

    def utilisation(self, chip: Numbers) -> float:
        """Return the share of cells in those tiles that hold a weight; 0 if nothing is analogue.

        Reference columns are beside a tile's own columns and do not count.
        """
        tile = chip.tile
        held = self.crossbar_weights * tile.cells_per_weight * tile.weight_slices
        cells = self.tiles(chip) * tile.rows * tile.columns
        return held / cells if cells else 0.0
