"""Layers and uses of a torch module, counted in one forward pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hwmodel.errors import NetworkError
from hwmodel.networks.layer import LayerSpec

_LAYER_TYPES = (nn.Linear, nn.Conv2d)


def derived_layers(
    model: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    *,
    lora_ranks: Mapping[str, int] | int,
    elementwise: Collection[str],
) -> tuple[LayerSpec, ...]:
    """Return the layers of a module in the order of their first use; see `NetworkSpec.of`.

    Raises `NetworkError` as `NetworkSpec.of`.
    """
    found = {path: module for path, module in model.named_modules() if isinstance(module, _LAYER_TYPES)}
    if not found:
        raise NetworkError(f"{type(model).__name__} has neither nn.Linear nor nn.Conv2d: nothing to map")
    _refuse_matrices_out_of_sight(model, elementwise)
    uses = _uses(model, found, example_input)
    if idle := [path for path in found if path not in uses]:
        raise NetworkError(f"not called in the forward pass: {', '.join(idle)}. Give an example that uses every layer")
    on_crossbar = {path for path, module in found.items() if _shape(module)[2] == 1}
    ranks = dict.fromkeys(on_crossbar, lora_ranks) if isinstance(lora_ranks, int) else dict(lora_ranks)
    if strange := sorted(set(ranks) - on_crossbar):
        raise NetworkError(f"lora_ranks names no crossbar layer: {', '.join(strange)}; there are: {', '.join(found)}")
    return tuple(_layer(path, found[path], uses[path], ranks.get(path, 0)) for path in uses)


def _shape(module: nn.Module) -> tuple[int, int, int]:
    """Return inputs and outputs of one group, and the number of groups."""
    if isinstance(module, nn.Conv2d):
        rows, columns = module.kernel_size
        groups = module.groups
        return module.in_channels // groups * rows * columns, module.out_channels // groups, groups
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features, 1


def _layer(path: str, module: nn.Module, uses: int, rank: int) -> LayerSpec:
    inputs, outputs, groups = _shape(module)
    try:
        return LayerSpec(name=path or "layer", inputs=inputs, outputs=outputs, uses=uses, groups=groups, lora_rank=rank)
    except ValidationError as error:
        raise NetworkError("; ".join(fault["msg"] for fault in error.errors())) from error


def _uses(model: nn.Module, found: Mapping[str, nn.Module], example: Tensor | tuple[Any, ...]) -> dict[str, int]:
    uses: dict[str, int] = {}

    def count(path: str, module: nn.Module, output: Tensor) -> None:
        per_vector = _shape(module)[1] * _shape(module)[2]
        uses[path] = uses.get(path, 0) + output.numel() // per_vector

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output, path=path: count(path, module, output))
        for path, module in found.items()
    ]
    run_once(model, example, hooks)
    return uses


def run_once(model: nn.Module, inputs: Tensor | Sequence[Any], hooks: Iterable[RemovableHandle]) -> None:
    """Run a module in evaluation mode, without gradients, and leave it as it was; the hooks are removed."""
    modes = {module: module.training for module in model.modules()}
    try:
        # Else batch norm would refuse a batch of one, or learn from it.
        model.eval()
        with torch.no_grad():
            model(*((inputs,) if isinstance(inputs, Tensor) else inputs))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training


def _refuse_matrices_out_of_sight(model: nn.Module, elementwise: Collection[str]) -> None:
    seen = (*_LAYER_TYPES, nn.Embedding)
    hidden = [
        f"{path}.{parameter}" if path else parameter
        for path, module in model.named_modules()
        if not isinstance(module, seen)
        for parameter, values in module.named_parameters(recurse=False)
        if values.ndim >= 2
    ]
    if left := sorted(set(hidden) - set(elementwise)):
        raise NetworkError(
            f"{type(model).__name__} has weights outside nn.Linear and nn.Conv2d: {', '.join(left)}. Their "
            "products cannot be counted here: name those without in `elementwise`, or write a network file"
        )
