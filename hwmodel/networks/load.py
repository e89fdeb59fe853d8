"""Network files: three that come with `hwmodel`, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwmodel.errors import NetworkError
from hwmodel.networks.spec import NetworkSpec
from hwmodel.presets.files import TomlFiles

_FILES = TomlFiles("network", NetworkError)


def network_names() -> tuple[str, ...]:
    """Return the names of the networks that come with `hwmodel`."""
    return _FILES.names()


def load_network(name_or_path: str | Path) -> NetworkSpec:
    """Load a network that comes with `hwmodel` by name, or any other from its file.

    A file is given as a `Path`, or a string that ends in ``.toml``. In it, a layer entry with layers of its own and
    ``repeat = k`` stands for k copies of them, named ``<entry><1 ... k>.<layer>``. Raises `NetworkError` if there is no
    such network, or the file is not TOML, or lacks, misspells or contradicts something. All faults are named at once.
    """
    content = _FILES.content(name_or_path)
    faults: list[str] = []
    if isinstance(layers := content.get("layers"), list):
        content["layers"] = _expanded(layers, "layers", faults)
    try:
        network = NetworkSpec.model_validate(content)
    except ValidationError as error:
        faults += _faults(error, content)
    if faults:
        raise NetworkError(f"network {name_or_path} is not valid:\n  " + "\n  ".join(faults))
    return network


def _expanded(entries: list[Any], where: str, faults: list[str]) -> list[Any]:
    """Write repeated blocks out; what is wrong with them goes to `faults`, the rest is left to the schema."""
    layers: list[Any] = []
    for entry in entries:
        if not (isinstance(entry, dict) and ("layers" in entry or "repeat" in entry)):
            layers.append(entry)
            continue
        name, repeat, inner = entry.get("name"), entry.get("repeat"), entry.get("layers")
        here = f"{where}.{name}"
        if extra := sorted(set(entry) - {"name", "repeat", "layers"}):
            faults.append(f"{here}: a repeated block has name, repeat and layers only, not {', '.join(extra)}")
        if not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 1:
            faults.append(f"{here}.repeat: must be a whole number of at least 1; got {repeat!r}")
            repeat = 1
        if not (isinstance(inner, list) and inner):
            faults.append(f"{here}.layers: a repeated block needs layers of its own")
            inner = []
        block = _expanded(inner, here, faults)
        if not (isinstance(name, str) and name):
            faults.append(f"{here}: a repeated block needs a name")
        layers += [
            layer | {"name": f"{name}{copy}.{layer['name']}"} if isinstance(layer, dict) and "name" in layer else layer
            for copy in range(1, repeat + 1)
            for layer in block
        ]
    return layers


def _faults(error: ValidationError, content: Mapping[str, Any]) -> list[str]:
    lines: dict[str, None] = {}
    for fault in error.errors():
        path = list(fault["loc"])
        if len(path) > 1 and path[0] == "layers" and isinstance(index := path[1], int):
            layer = content["layers"][index]
            path[1] = layer.get("name", index) if isinstance(layer, dict) else index
        place = ".".join(str(part) for part in path)
        lines[f"{place}: {fault['msg']}" if place else fault["msg"]] = None
    return list(lines)
