"""Placement of a model: layers that go on crossbars, and parameters that stay digital, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from torch import nn

from hwmodel.errors import CrossbarError
from hwmodel.nn.layer import AnalogLayer

#: Crossbar key of a model that is itself one layer, and so has no module path.
ROOT = "layer"

#: Modules that multiply by the weights of the linear layers inside them without calling those.
_PAST_THEIR_LAYERS = (nn.MultiheadAttention,)


@dataclass(frozen=True, slots=True)
class DigitalPart:
    """A parameter that is not on a crossbar."""

    name: str
    count: int
    reason: str


def analog_targets(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers to program by module path; one that the model holds twice has its first path.

    Those are `nn.Linear` and ungrouped `nn.Conv2d`, and subclasses that keep their `forward`: another forward may do
    something else with the weights. Raises `CrossbarError` if there is none, or one has no weights yet.
    """
    targets = dict(_walk(model, "", set()))
    if not targets:
        kinds = sorted({type(module).__name__ for module in model.modules()})
        raise CrossbarError(
            f"there is nothing to program in this model of {', '.join(kinds)}: it needs an nn.Linear, or an "
            "nn.Conv2d with groups=1"
        )
    for name, layer in targets.items():
        if nn.parameter.is_lazy(layer.weight):
            raise CrossbarError(f"layer {name!r} has no weights yet: run the model once, then program it")
    return targets


def digital_parts(module: nn.Module) -> tuple[DigitalPart, ...]:
    """Return the parameters of a programmed copy that are not on crossbars."""
    return tuple(
        DigitalPart(name, parameter.numel(), _reason(module, name)) for name, parameter in module.named_parameters()
    )


def _walk(module: nn.Module, path: str, visited: set[nn.Module]) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    if module in visited or isinstance(module, _PAST_THEIR_LAYERS):
        return
    visited.add(module)
    if _is_linear(module) or (_is_convolution(module) and module.groups == 1):
        yield path or ROOT, module
    for name, child in module.named_children():
        yield from _walk(child, f"{path}.{name}" if path else name, visited)


def _is_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _is_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward


def _reason(root: nn.Module, parameter: str) -> str:
    path = parameter.split(".")[:-1]
    owners = [root]
    for name in path:
        owners.append(owners[-1].get_submodule(name))
    for owner in owners:
        if isinstance(owner, _PAST_THEIR_LAYERS):
            return f"{type(owner).__name__} multiplies by its weights past any layer"
    owner = owners[-1]
    if isinstance(owner, AnalogLayer):
        return "bias, added after the ADC"
    if isinstance(owner, nn.Conv2d) and owner.groups > 1:
        return f"convolution in {owner.groups} groups: its matrices would leave tiles empty"
    if isinstance(owner, nn.Linear | nn.Conv2d):
        return f"{type(owner).__name__} has a forward of its own"
    return f"{type(owner).__name__} has no form on a crossbar"
