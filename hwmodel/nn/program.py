"""Put the weights of a torch model on the crossbars of one chip or of many."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hwmodel.crossbar import Crossbar, Fidelity
from hwmodel.device.models import DeviceModels
from hwmodel.errors import MappingError
from hwmodel.ledger import EnergyLedger
from hwmodel.nn.calibration import converter_range, record_inputs
from hwmodel.nn.conv import AnalogConv2d, ConvGeometry
from hwmodel.nn.layer import AnalogLayer, AnalogLinear, Meter
from hwmodel.nn.placement import analog_targets, digital_parts
from hwmodel.nn.programmed import ProgrammedLayer, ProgrammedModel
from hwmodel.presets.preset import Preset, load_preset


def program(
    model: nn.Module,
    preset: Preset | str | Path,
    seed: int,
    *,
    nodes: Sequence[str] = ("node-0",),
    epoch: int = 0,
    age_s: float = 1.0,
    models: DeviceModels | None = None,
    fidelity: Fidelity = Fidelity.TILE_ACCURATE,
    calibration: Tensor | Sequence[Tensor] | None = None,
    ledger: EnergyLedger | None = None,
) -> ProgrammedModel:
    """Return a copy of a torch model in which every `nn.Linear` and `nn.Conv2d` is on crossbars.

    The model itself is not changed. The copy is in evaluation mode, on the CPU. Biases stay digital, and so do grouped
    and depthwise convolutions, whose matrices would leave tiles empty, and `nn.MultiheadAttention`, which multiplies by
    its weights past any layer: `ProgrammedModel.digital` lists them. A chip is a function of (seed, node, module path,
    epoch), the weights and the preset: regenerate it by programming again, with the same result for each node whether
    alone or among a thousand (bitwise for the same codes; what a model computes digitally in between is as repeatable
    as torch is).

    Parameters
    ----------
    model
        Any torch model that keeps the batch as the first axis of what it gives to those layers.
    preset
        Technology: a preset, the name of one that comes with `hwmodel`, or the path of a TOML file.
    epoch
        How often these chips have been programmed before.
    models
        Device models; those of the preset if None.
    calibration
        Example inputs of the model ``[B, ...]`` (public data: they shape what is deployed). They fix each layer's DAC
        full scale and ADC step at what loses least of them; larger inputs saturate. If None, every vector is scaled by
        its own largest magnitude, and ADC steps follow `default_adc_step`.
    ledger
        Charged with programming and with every product; a new one if None.

    Raises
    ------
    CrossbarError
        If the model has nothing to program, or a layer whose shape is not known yet.
    ConverterError
        If the calibration inputs do not reach every layer, or give one nothing but zeros.
    MappingError
        If a layer's weights cannot be mapped, e.g. because all are zero.
    DeviceError
        If a model of the cell does not cover the preset's window, the age, or what a column's wire loses.
    """
    technology = preset if isinstance(preset, Preset) else load_preset(preset)
    ids = nodes if isinstance(nodes, str) else tuple(nodes)
    meter = Meter(ledger if ledger is not None else EnergyLedger(max(1, len(ids))))
    targets = analog_targets(model)
    inputs = record_inputs(model, targets, calibration) if calibration is not None else {}

    copied: dict[int, Any] = {}
    analog: dict[str, AnalogLayer] = {}
    for name, layer in targets.items():
        weight = layer.weight.detach().flatten(1)
        try:
            fixed = converter_range(name, weight, inputs[name], technology) if inputs else None
            crossbar = Crossbar.program(
                weight,
                technology,
                fleet_seed=seed,
                nodes=ids,
                layer=name,
                epoch=epoch,
                age_s=age_s,
                models=models,
                fidelity=fidelity,
                ledger=meter.ledger,
                input_rms=None if fixed is None else fixed.input_rms,
                adc_step=None if fixed is None else fixed.adc_step,
            )
        except MappingError as error:
            raise MappingError(f"layer {name!r} cannot be programmed: {error}") from error
        # A deep copy of the model finds this wherever the model holds the layer, also if in two places.
        copied[id(layer)] = analog[name] = _analog_layer(
            layer,
            crossbar=crossbar,
            weight=weight,
            bias=copy.deepcopy(layer.bias, copied),
            full_scale=None if fixed is None else fixed.full_scale,
            meter=meter,
        )
    module = copy.deepcopy(model, copied).eval()
    return ProgrammedModel(
        module,
        preset=technology,
        seed=seed,
        nodes=tuple(ids),
        epoch=epoch,
        age_s=age_s,
        fidelity=fidelity,
        layers=tuple(ProgrammedLayer.of(name, layer) for name, layer in analog.items()),
        digital=digital_parts(module),
        meter=meter,
    )


def _analog_layer(layer: nn.Linear | nn.Conv2d, **parts: Any) -> AnalogLayer:
    if isinstance(layer, nn.Conv2d):
        return AnalogConv2d(geometry=ConvGeometry.of(layer), **parts)
    return AnalogLinear(**parts)
