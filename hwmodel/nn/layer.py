"""Analogue layers: float vectors in, a crossbar, float vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwmodel.crossbar import Crossbar
from hwmodel.errors import CrossbarError
from hwmodel.ledger import EnergyLedger, Phase

#: Numbers converted at once (float64 elements): what fits into a cache.
_SCRATCH_ELEMENTS = 1 << 16

#: What is added digitally to the output of an analogue layer: vectors [N, V, in] to [N, V, out].
Correction = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Meter:
    """State that all analogue layers of one model share: who pays, for which phase, and whose chip reads."""

    ledger: EnergyLedger
    phase: Phase = Phase.INFER
    #: Index of the only node that reads, or None for all.
    node: int | None = None

    @contextmanager
    def charging(self, phase: Phase, ledger: EnergyLedger | None = None) -> Iterator[None]:
        """Charge everything inside the ``with`` block as `phase`, to another ledger if one is given."""
        before, self.phase, self.ledger = (self.phase, self.ledger), Phase(phase), ledger or self.ledger
        try:
            yield
        finally:
            self.phase, self.ledger = before

    @contextmanager
    def reading(self, node: int | None) -> Iterator[None]:
        """Have one node's chip alone read inside the ``with`` block, or all if None."""
        before, self.node = self.node, node
        try:
            yield
        finally:
            self.node = before


class AnalogLayer(nn.Module):
    """A layer whose product is made by crossbars, one chip per node. Base of the layers of `hwmodel.nn`.

    Every product goes through the DAC of the crossbar, its cells and its ADCs. The full scale of the DAC is either
    fixed (`full_scale`, from calibration) and saturates what is larger, or, if None, the largest magnitude of each
    vector: a multiplier before the DAC and after the ADC per vector, whose cost is not in the ledger.

    The product is straight-through for gradients: the backward pass multiplies by the ideal weights and ignores
    rounding and saturation, so what lies in front of the layer, and `correction`, can be trained through it. The
    weights themselves are cells and have no gradient.

    Parameters
    ----------
    crossbar
        The programmed weights of all nodes.
    weight
        Weights as given, float32 ``[out, in]``: what the backward pass uses.
    bias
        Added digitally, or None.
    full_scale
        Input that gets the largest DAC code; None for each vector's own largest magnitude.
    meter
        Whose ledger products are charged to.

    Attributes
    ----------
    bias
        As given: a digital parameter, trained or frozen as in the model it comes from.
    ideal_weight
        The weights as given: a buffer.
    correction
        None, or what is added to the product: a function, or a module, whose parameters are then parameters of the
        model. It gets the vectors that the crossbar gets, as floats ``[N, V, in]``, and returns ``[N, V, out]``; V is
        the batch times the positions (tokens, or the places of a convolution). This is where a per-node LoRA goes.
        Whoever attaches it charges its cost.
    """

    ideal_weight: Tensor

    def __init__(
        self, crossbar: Crossbar, *, weight: Tensor, bias: nn.Parameter | None, full_scale: float | None, meter: Meter
    ) -> None:
        super().__init__()
        self.crossbar, self.full_scale, self.meter = crossbar, full_scale, meter
        self.register_buffer("ideal_weight", weight.detach().to("cpu", torch.float32), persistent=False)
        self.bias = bias
        self.correction: Correction | None = None
        # A hook, since that also stops torch's fused transformer layer, which reads weights past `forward`.
        self.register_forward_pre_hook(AnalogLayer._check_batch)

    @property
    def nodes(self) -> int:
        """Length of the node axis: 1 while one node's chip alone reads."""
        return len(self.crossbar.nodes) if self.meter.node is None else 1

    def encode(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return DAC codes of vectors ``[N, V, in]``, and what one code stands for.

        The codes are int16 ``[N, V, in]``, the unit float64 ``[N, V, 1]`` (0-dimensional if the full scale is fixed):
        ``codes * unit`` approximates `vectors`. Raises `ConverterError` if a value is not finite.
        """
        dac = self.crossbar.dac
        exact = vectors.detach().flatten(0, 1)
        codes = torch.empty(exact.shape, dtype=torch.int16)
        parts = self._parts(exact)
        if self.full_scale is not None:
            for part in parts:
                codes[part] = dac.encode(exact[part], self.full_scale)
            return codes.view(vectors.shape), torch.tensor(self.full_scale / dac.max_code, dtype=torch.float64)
        unit = torch.empty(len(exact), 1, dtype=torch.float64)
        for part in parts:
            codes[part], unit[part] = dac.encode_each(exact[part])
        return codes.view(vectors.shape), unit.view(*vectors.shape[:2], 1)

    @staticmethod
    def _parts(vectors: Tensor) -> list[slice]:
        rows = max(1, _SCRATCH_ELEMENTS // max(1, vectors.shape[1]))
        return [slice(start, start + rows) for start in range(0, len(vectors), rows)]

    def product(self, vectors: Tensor) -> Tensor:
        """Return each node's vectors ``[N, V, in]`` times its own cells, plus the correction if there is one.

        Returns ``[N, V, out]``, in the dtype of `vectors`.
        """
        result: Tensor = _StraightThrough.apply(vectors, self)  # type: ignore[no-untyped-call]
        return result if self.correction is None else result + self.correction(vectors)

    def _analog(self, vectors: Tensor) -> Tensor:
        codes, unit = self.encode(vectors)
        meter = self.meter
        sums = self.crossbar.mvm(codes, node=meter.node, ledger=meter.ledger, phase=meter.phase)
        return (sums * (unit * self.crossbar.scale)).to(vectors.dtype)

    def _check_batch(self, inputs: tuple[Any, ...]) -> None:
        tensor = inputs[0]
        if tensor.ndim < 2 or tensor.shape[0] % self.nodes:
            raise CrossbarError(
                f"layer {self.crossbar.layer!r} of {self.nodes} nodes got an input {list(tensor.shape)}: its "
                "first axis must be the batch of all nodes, node after node; a model that moves its batch "
                "axis, or makes inputs without one, can only be programmed on one node at a time"
            )

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                f"{type(self).__name__} has no `weight`: its weights are cells. `ideal_weight` is what was "
                "programmed; a module that multiplies by `.weight` itself cannot run on crossbars"
            )
        return super().__getattr__(name)

    def extra_repr(self) -> str:
        """Return what ``print(model)`` shows of the layer."""
        crossbar = self.crossbar
        scale = "per vector" if self.full_scale is None else f"{self.full_scale:.3g}"
        return (
            f"in={crossbar.in_features}, out={crossbar.out_features}, nodes={self.nodes}, "
            f"preset={crossbar.preset.name}, dac_full_scale={scale}"
        )


class AnalogLinear(AnalogLayer):
    """`torch.nn.Linear` on crossbars: ``[N B, ..., in]`` to ``[N B, ..., out]``, node after node.

    All axes between the first and the last (tokens, time) are further vectors. See `AnalogLayer`.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, bias and correction included."""
        vectors = inputs.reshape(self.nodes, -1, self.crossbar.in_features)
        outputs = self.product(vectors).view(*inputs.shape[:-1], self.crossbar.out_features)
        return outputs if self.bias is None else outputs + self.bias


class _StraightThrough(torch.autograd.Function):
    """Analogue product forwards, ideal weights backwards (straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, layer: AnalogLayer) -> Tensor:
        ctx.layer = layer
        return layer._analog(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient @ ctx.layer.ideal_weight.to(gradient.dtype), None
