"""Ranges of DAC and ADC, fixed from example inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwmodel.converter import Dac
from hwmodel.crossbar import Crossbar
from hwmodel.device.models import DeviceModels
from hwmodel.errors import ConverterError
from hwmodel.networks.derive import run_once
from hwmodel.nn.conv import ConvGeometry
from hwmodel.presets.preset import Preset

#: Full scales that are tried, as shares of the largest magnitude seen.
_SHARES = tuple(k / 20 for k in range(20, 0, -1))

#: Vectors of one call of a layer that are looked at, evenly spaced.
_VECTORS_PER_CALL = 1024


@dataclass(frozen=True, slots=True)
class ConverterRange:
    """The fixed converter settings of one layer."""

    full_scale: float  #: input that gets the largest DAC code
    input_rms: float  #: root mean square of the DAC codes
    adc_step: int  #: partial-sum units per ADC code


def least_loss_full_scale(values: Tensor, max_code: int) -> float:
    """Return the full scale at which a converter loses least of these values.

    A wide range rounds coarsely, a narrow one saturates; of twenty ranges up to the largest magnitude the one with the
    smallest mean square error is taken, the wider of two equal ones. Raises `ConverterError` if there is no value but
    zero, or one is not finite.
    """
    exact = values.detach().to(torch.float64)
    largest = float(exact.abs().max()) if exact.numel() else 0.0
    if not 0 < largest < float("inf"):
        raise ConverterError(f"a converter range needs finite values other than zero; largest is {largest}")

    # One array for all: to make such arrays takes longer than to fill them.
    error = torch.empty_like(exact)

    def loss(full_scale: float) -> float:
        unit = full_scale / max_code
        torch.div(exact, unit, out=error).round_().clamp_(-max_code, max_code)
        return float(error.mul_(unit).sub_(exact).square_().mean())

    return min((largest * share for share in _SHARES), key=loss)


def record_inputs(
    model: nn.Module, layers: Mapping[str, nn.Linear | nn.Conv2d], examples: Tensor | Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return what each layer of the float model multiplies in a run on examples, float64 ``[vectors, in]``.

    The model is run as by `layer_inputs`. Raises `ConverterError` if a layer was not reached.
    """
    seen = layer_inputs(model, layers, examples, most=_VECTORS_PER_CALL)
    silent = [name for name in layers if name not in seen]
    if silent:
        raise ConverterError(
            f"the calibration inputs never reach {', '.join(silent)}: give inputs that do, or none at all, "
            "and every layer scales each vector by its own largest magnitude"
        )
    return {name: torch.cat(seen[name]).to(torch.float64) for name in layers}


def layer_inputs(
    model: nn.Module, layers: Mapping[str, nn.Module], examples: Tensor | Sequence[Tensor], *, most: int | None = None
) -> dict[str, list[Tensor]]:
    """Run the float model and return what layers multiplied at each use, ``[vectors, in]``, in order of first use.

    It is run once on all examples (its input ``[B, ...]``, or its inputs), in evaluation mode, without gradients. Of
    each use at most `most` vectors are kept, evenly spaced. Layers that were not reached are missing.
    """
    seen: dict[str, list[Tensor]] = {}

    def recorder(name: str) -> Any:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach()
            if isinstance(layer, nn.Conv2d):
                values = ConvGeometry.of(layer).vectors(values)
            vectors = values.reshape(-1, values.shape[-1])
            if most is not None and len(vectors) > most:
                vectors = vectors[torch.linspace(0, len(vectors) - 1, most).long()]
            seen.setdefault(name, []).append(vectors)

        return record

    hooks = [layer.register_forward_pre_hook(recorder(name)) for name, layer in layers.items()]
    run_once(model, examples, hooks)
    return seen


def converter_range(name: str, weight: Tensor, vectors: Tensor, preset: Preset) -> ConverterRange:
    """Return DAC full scale and ADC step of a layer ``[out, in]`` from vectors ``[V, in]`` that it multiplied.

    The ADC step covers the partial sums of the ideal weights: codes of different chips mean the same. Raises
    `ConverterError` if the vectors hold nothing but zeros, or a value is not finite.
    """
    dac = Dac(preset.converter.dac_bits)
    ideal = Crossbar.program(weight, preset, fleet_seed=0, nodes=["ideal"], layer=name, models=DeviceModels.ideal())
    try:
        full_scale = least_loss_full_scale(vectors, dac.max_code)
        codes = dac.encode(vectors, full_scale)
        largest_sum = least_loss_full_scale(ideal.partial_sums(codes.unsqueeze(0)), ideal.adc.max_code)
    except ConverterError as error:
        raise ConverterError(f"cannot calibrate layer {name!r}: {error}") from error
    return ConverterRange(
        full_scale=full_scale,
        input_rms=math.sqrt(float(codes.to(torch.float64).square().mean())),
        # A step is whole, so the range that was found is rounded up.
        adc_step=math.ceil(largest_sum / ideal.adc.max_code),
    )
