"""Gallery: scenarios that come with the simulator, a TOML file each, and how a scenario is found by its name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fleet.errors import NotFoundError
from fleet.sim.scenario import Scenario

_FILES = resources.files(__name__)


def names() -> list[str]:
    """Return the names of the gallery's scenarios."""
    return sorted(file.name.removesuffix(".toml") for file in _FILES.iterdir() if file.name.endswith(".toml"))


def text(name: str) -> str:
    """Return the file of a scenario of the gallery; `NotFoundError` if it has none of that name."""
    if name not in names():
        raise NotFoundError(
            f"the gallery has no scenario {name!r}",
            hint=f"it has {', '.join(names())}; a file of your own ends in .toml",
        )
    return (_FILES / f"{name}.toml").read_text(encoding="utf-8")


def load(name: str, changes: Mapping[str, Any] | None = None) -> Scenario:
    """Return a scenario of the gallery, or of a file whose name ends in ``.toml``, with some values changed.

    `NotFoundError` if there is none; `ScenarioError` if it cannot be simulated as changed.
    """
    if name.endswith(".toml"):
        return Scenario.load(Path(name), changes)
    return Scenario.parse(text(name), changes, where=name)
