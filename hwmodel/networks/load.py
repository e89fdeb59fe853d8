"""Network files: three that come with `hwmodel`, and a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwmodel.errors import NetworkError
from hwmodel.networks.spec import NetworkSpec


def network_names() -> tuple[str, ...]:
    """Return the names of the networks that come with `hwmodel`."""
    folder = resources.files("hwmodel") / "networks"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_network(name_or_path: str | Path) -> NetworkSpec:
    """Load a network that comes with `hwmodel` by name, or any other from its file.

    In a file, a layer entry with layers of its own and ``repeat = k`` stands for k copies of them, named
    ``<entry><1 ... k>.<layer>``. Raises `NetworkError` if there is no such network, or the file is not TOML, or lacks,
    misspells or contradicts something. All faults are named at once.

    Parameters
    ----------
    name_or_path
        A name out of `network_names`, a `Path`, or a string that ends in ``.toml``.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        where = str(name_or_path)
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise NetworkError(f"cannot read network {where}: {reason}") from error
    else:
        if name_or_path not in network_names():
            raise NetworkError(
                f"no network {name_or_path!r}; there are: {', '.join(network_names())}. "
                "For your own, give the path of a .toml file"
            )
        where = f"{name_or_path}.toml"
        text = (resources.files("hwmodel") / "networks" / where).read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NetworkError(f"network {where} is not TOML: {error}") from error
    faults: list[str] = []
    if isinstance(layers := content.get("layers"), list):
        content["layers"] = _expanded(layers, "layers", faults)
    try:
        network = NetworkSpec.model_validate(content)
    except ValidationError as error:
        faults += _faults(error, content)
    if faults:
        raise NetworkError(f"network {where} is not valid:\n  " + "\n  ".join(faults))
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
