"""A torch model whose matrices are on crossbars, for many chips at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hwmodel import cost
from hwmodel.crossbar import Fidelity
from hwmodel.errors import CrossbarError
from hwmodel.ledger import Cost, EnergyLedger, Phase
from hwmodel.networks.layer import LayerSpec
from hwmodel.nn.conv import AnalogConv2d
from hwmodel.nn.layer import AnalogLayer, Meter
from hwmodel.nn.placement import ROOT, DigitalPart
from hwmodel.presets.preset import Preset


@dataclass(frozen=True, slots=True)
class ProgrammedLayer:
    """Report on one layer of a programmed model.

    Attributes
    ----------
    name
        Module path, which is also the layer's key on the chip.
    kind
        ``"Linear"`` or ``"Conv2d"``.
    inputs, outputs
        Of the matrix on the crossbar; a convolution has ``C kh kw`` inputs.
    tiles, cells
        What it takes of one chip.
    dac_full_scale
        Input of the largest DAC code; None if each vector is scaled by its own largest magnitude.
    adc_step
        Partial-sum units per ADC code.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    tiles: int
    cells: int
    dac_full_scale: float | None
    adc_step: int

    @classmethod
    def of(cls, name: str, layer: AnalogLayer) -> ProgrammedLayer:
        """Return the report of a layer."""
        crossbar = layer.crossbar
        inputs, outputs = crossbar.in_features, crossbar.out_features
        return cls(
            name=name,
            kind="Conv2d" if isinstance(layer, AnalogConv2d) else "Linear",
            inputs=inputs,
            outputs=outputs,
            tiles=LayerSpec(name=name, inputs=inputs, outputs=outputs, uses=1).tiles(crossbar.preset),
            cells=cost.crossbar_cells(crossbar.preset, inputs, outputs),
            dac_full_scale=layer.full_scale,
            adc_step=crossbar.adc.step,
        )

    @property
    def weights(self) -> int:
        """Weights on the crossbar."""
        return self.inputs * self.outputs


class ProgrammedModel(nn.Module):
    """A model whose matrices are on the crossbars of `nodes`; made by `program`.

    Attributes
    ----------
    module
        The copy of the model, in evaluation mode, with `AnalogLinear` and `AnalogConv2d` in it.
    preset, seed, nodes, epoch, age_s, fidelity
        What it was programmed with.
    layers
        The layers on crossbars, in the order of the model.
    digital
        The parameters that stay digital, each with the reason.
    ledger
        Charged by programming and by every product, per node. Digital arithmetic is not charged.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        preset: Preset,
        seed: int,
        nodes: tuple[str, ...],
        epoch: int,
        age_s: float,
        fidelity: Fidelity,
        layers: tuple[ProgrammedLayer, ...],
        digital: tuple[DigitalPart, ...],
        meter: Meter,
    ) -> None:
        super().__init__()
        self.module = module
        self.preset, self.seed, self.nodes, self.epoch = preset, seed, nodes, epoch
        self.age_s, self.fidelity = age_s, fidelity
        self.layers, self.digital = layers, digital
        self._meter = meter

    def forward(self, *inputs: Tensor, node_axis: bool = False, node: int | None = None) -> Any:
        """Run the model on every node.

        The node axis is folded into the batch, node after node, so what the model does digitally is the same code for
        one node as for a thousand. It must keep the batch first, as torch models do. Every tensor that the model
        returns is ``[N, B, ...]``. Raises `CrossbarError` if the node axis is not that of the nodes, a batch
        normalisation would mix nodes, or the model does not keep the batch first.

        Parameters
        ----------
        *inputs
            The model's inputs ``[B, ...]``, which every node gets; or ``[N, B, ...]``.
        node_axis
            Whether the inputs have a node axis. (It cannot be told from the shape.)
        node
            Index of the only node that runs, and pays: its axis has length 1, and a `correction` gets its vectors
            alone. So what the model does digitally has the same shapes however many nodes there are, and rounds the
            same.
        """
        count = len(self.nodes) if node is None else 1
        if count > 1:
            self._refuse_mixing()
        folded = [self._fold(tensor, node_axis, count) for tensor in inputs]
        with self._meter.reading(node):
            return _unfold(self.module(*folded), count)

    @property
    def analog(self) -> Mapping[str, AnalogLayer]:
        """The layers on crossbars by name, e.g. to attach a `correction`."""
        found = {name: m for name, m in self.module.named_modules() if isinstance(m, AnalogLayer)}
        return {name or ROOT: layer for name, layer in found.items()}

    @property
    def ledger(self) -> EnergyLedger:
        """What programming and products are charged to."""
        return self._meter.ledger

    @property
    def weights(self) -> int:
        """Weights on crossbars, of one chip."""
        return sum(layer.weights for layer in self.layers)

    @property
    def tiles(self) -> int:
        """Tiles of one chip."""
        return sum(layer.tiles for layer in self.layers)

    def energy(self, node: int = 0) -> dict[Phase, Cost]:
        """Return what a node has spent so far, by phase."""
        return self.ledger.totals(node)

    def charging(self, phase: Phase, ledger: EnergyLedger | None = None) -> AbstractContextManager[None]:
        """Charge the products made inside the ``with`` block as `phase` instead of `Phase.INFER`.

        To another ledger of as many nodes if one is given.
        """
        return self._meter.charging(phase, ledger)

    def at_age(self, age_s: float) -> ProgrammedModel:
        """Return the same chips at another age, seconds after programming.

        They are charged to the same ledger. Digital parameters and corrections are copied as they are now. Raises
        `DeviceError` if the relaxation model does not know this age.
        """
        memo: dict[int, Any] = {id(self._meter): self._meter}
        for layer in self.analog.values():
            memo[id(layer.crossbar)] = layer.crossbar.at_age(age_s)
        return ProgrammedModel(
            copy.deepcopy(self.module, memo),
            preset=self.preset,
            seed=self.seed,
            nodes=self.nodes,
            epoch=self.epoch,
            age_s=age_s,
            fidelity=self.fidelity,
            layers=self.layers,
            digital=self.digital,
            meter=self._meter,
        )

    def _fold(self, tensor: Tensor, node_axis: bool, count: int) -> Tensor:
        if not node_axis:
            if tensor.ndim < 1:
                raise CrossbarError("inputs need a batch axis; got a single number")
            return tensor.repeat(count, *(1 for _ in tensor.shape[1:])) if count > 1 else tensor
        if tensor.ndim < 2 or tensor.shape[0] != count:
            raise CrossbarError(f"inputs with a node axis are [{count}, B, ...]; got {list(tensor.shape)}")
        return tensor.flatten(0, 1)

    def _refuse_mixing(self) -> None:
        for name, module in self.module.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
                module.training or not module.track_running_stats
            ):
                raise CrossbarError(
                    f"{name} normalises over the batch, which here is that of all {len(self.nodes)} nodes: "
                    "call .eval() on it, or program one node at a time"
                )


def _unfold(outputs: Any, nodes: int) -> Any:
    if isinstance(outputs, Tensor):
        if outputs.ndim < 1 or outputs.shape[0] % nodes:
            raise CrossbarError(
                f"the model returned {list(outputs.shape)}: its first axis must be the batch of all {nodes} "
                "nodes, node after node"
            )
        return outputs.reshape(nodes, outputs.shape[0] // nodes, *outputs.shape[1:])
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(_unfold(part, nodes) for part in outputs))
    if isinstance(outputs, list | tuple):
        return type(outputs)(_unfold(part, nodes) for part in outputs)
    if isinstance(outputs, dict):
        return {key: _unfold(part, nodes) for key, part in outputs.items()}
    raise CrossbarError(f"a programmed model returns tensors; this one returned {type(outputs).__name__}")
