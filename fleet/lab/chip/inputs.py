"""Presets and networks as the operator names them, with errors that a command line can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hwmodel
from fleet.errors import InvalidInputError, NotFoundError
from hwmodel.networks import NetworkSpec

#: Stands for every network that comes with `hwmodel`.
ALL = "all"


def given_preset(name_or_file: str) -> hwmodel.Preset:
    """Return a preset that comes with `hwmodel`, or the user's own.

    Raises `NotFoundError` if it is neither a name nor a file; `InvalidInputError` if the file is not a preset (all its
    faults are named), no chip can be made of it, or it is another than the built-in of its name and version: figures go
    by these two.
    """
    place = _place(
        "preset",
        name_or_file,
        hwmodel.preset_names(),
        "To start one of your own: fleet chip show 180nm-1t1r --toml > mine.toml",
    )
    try:
        preset = hwmodel.load_preset(place)
    except hwmodel.PresetError as error:
        raise InvalidInputError(
            str(error), hint="Every number is {value, low, high, source}: fleet chip show 180nm-1t1r --toml"
        ) from error
    try:
        hwmodel.DeviceModels.of(preset)
    except hwmodel.DeviceError as error:
        raise InvalidInputError(
            str(error), hint="No chip can be made of it: see [models] and the window in [cell]."
        ) from error
    _refuse_impostor(preset, name_or_file)
    return preset


def _refuse_impostor(preset: hwmodel.Preset, given: str) -> None:
    if preset.name not in hwmodel.preset_names():
        return
    built_in = hwmodel.load_preset(preset.name)
    if preset.version == built_in.version and preset != built_in:
        raise InvalidInputError(
            f"{given} calls itself {preset.name} version {preset.version}, which is built in and another",
            hint="Give it another name or version: figures go by these two.",
        )


def preset_toml(name_or_file: str) -> str:
    """Return the text of a preset, once it is known to be one; errors as `given_preset`."""
    given_preset(name_or_file)
    return hwmodel.preset_text(name_or_file if name_or_file in hwmodel.preset_names() else Path(name_or_file))


def given_networks(names_or_files: Sequence[str]) -> tuple[NetworkSpec, ...]:
    """Return networks in the order given, none twice; `ALL` stands for those that come with `hwmodel`.

    Raises `NotFoundError` if one is neither a name nor a file; `InvalidInputError` if none is given, a file is not a
    network (all its faults are named), or two have one name.
    """
    known = hwmodel.network_names()
    wanted = dict.fromkeys(name for given in names_or_files for name in (known if given == ALL else (given,)))
    networks: dict[str, tuple[str, NetworkSpec]] = {}
    for given in wanted:
        place = _place("network", given, known, f"{ALL} stands for these. Your own is a .toml file like theirs.")
        try:
            network = hwmodel.load_network(place)
        except hwmodel.NetworkError as error:
            raise InvalidInputError(str(error)) from error
        if network.name in networks:
            raise InvalidInputError(
                f"{given} and {networks[network.name][0]} are both called {network.name!r}",
                hint="Give one of them another name: results go by it.",
            )
        networks[network.name] = (given, network)
    if not networks:
        raise InvalidInputError("no network to report on", hint=f"Give --network: {', '.join((*known, ALL))}.")
    return tuple(network for _, network in networks.values())


def _place(kind: str, given: str, known: tuple[str, ...], hint: str) -> str | Path:
    if given in known:
        return given
    if Path(given).is_file():
        return Path(given)
    raise NotFoundError(
        f"no {kind} {given!r}: neither built in nor a file", hint=f"Built in: {', '.join(known)}. {hint}"
    )
