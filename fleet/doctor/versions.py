"""Versions: of this program and what it stands on, of the coordinator, of the nodes."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from reram_fleet.processes.command_line import DISTRIBUTION

from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target

AREA = Area("versions")
#: Extras without which a coordinator does not run; what others ask for may be missing.
_NEEDED = ("", "coordinator")
_ANY = ("", "coordinator", "postgres", "node", "sim")


def check_versions(target: Target) -> Iterator[Finding]:
    """Hold versions against what the package allows, and against each other."""
    ours = version(DISTRIBUTION)
    wrong = list(_wrong_packages())
    python = metadata(DISTRIBUTION)["Requires-Python"]
    if wrong:
        yield AREA.failure(
            f"{DISTRIBUTION} {ours} does not go with {some(wrong)}",
            f"pip install --upgrade '{DISTRIBUTION}[coordinator]=={ours}'",
        )
    else:
        yield AREA.ok(f"{DISTRIBUTION} {ours} on Python {platform.python_version()} ({python}), with {_named()}")
    if target.answer is None:
        yield AREA.unknown("those of coordinator and nodes: the coordinator was not asked")
        return
    coordinator = target.answer.fleet.version
    if coordinator == ours:
        yield AREA.ok(f"the coordinator is of version {coordinator}, too")
    else:
        yield AREA.warning(
            f"the coordinator is of version {coordinator}, this program of {ours}",
            f"pip install '{DISTRIBUTION}=={coordinator}'",
        )
    others = Counter(node.software_version for node in target.answer.nodes if node.software_version)
    others.pop(coordinator, None)
    if others:
        counted = [f"{said} on {count}" for said, count in sorted(others.items())]
        yield AREA.warning(f"nodes are of other versions than the coordinator: {some(counted)}")
    elif target.answer.nodes:
        yield AREA.ok("no connected node is of another version than the coordinator")


def _required(extras: tuple[str, ...]) -> Iterator[Requirement]:
    for text in requires(DISTRIBUTION) or ():
        each = Requirement(text)
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
            yield each


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _wrong_packages() -> Iterator[str]:
    needed = {each.name for each in _required(_NEEDED)} - {DISTRIBUTION}
    for each in _required(_ANY):
        found = _installed(each.name)
        if found is None and each.name in needed:
            yield f"no {each.name} at all ({each.specifier})"
        elif found is not None and not each.specifier.contains(found, prereleases=True):
            yield f"{each.name} {found} ({each.specifier})"


def _named() -> str:
    """Return the versions that bugs are reported with."""
    return ", ".join(f"{name} {_installed(name)}" for name in ("flwr", "grpcio", "protobuf", "sqlalchemy"))
