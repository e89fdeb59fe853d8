"""Sweeps: a scenario at every combination of some values, from several seeds, as runs in one folder."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reram_fleet.processes.durable import write_atomically

from fleet.documents import Document, document
from fleet.errors import NotFoundError, reason_of
from fleet.sim.run_folder import RunFolder, configuration_digest, scenario_toml
from fleet.sim.scenario import Scenario, ScenarioError

_RECORD, _SCENARIO = "sweep.json", "scenario.toml"
#: More runs than anybody waits for: a slip in the values.
_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of values, and the scenario that it makes."""

    values: Mapping[str, Any]
    scenario: Scenario

    @property
    def label(self) -> str:
        """Its values as text."""
        return ", ".join(f"{key} = {value}" for key, value in self.values.items())


def points_of(base: Scenario) -> list[Point]:
    """Return every combination of the values that a scenario goes through, each with its scenario, all of them checked.

    `ScenarioError` if there is nothing to go through, or a combination cannot be simulated.
    """
    values = base.sweep
    if not values:
        raise ScenarioError("there are no values to go through", hint='--vary time.lease=\'["1h", "1d"]\'')
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    if not 0 < len(combinations) <= _MOST_RUNS:
        raise ScenarioError(f"a sweep has 1 to {_MOST_RUNS} combinations of values; these are {len(combinations)}")
    return [Point(each, base.changed({**each, "sweep": {}})) for each in combinations]


class SweepFolder:
    """Folder of a sweep: its record, and the folders of its runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, root: Path, points: Sequence[Point]) -> SweepFolder:
        """Return the folder of a sweep, which need not be there yet: more seeds go into the same one."""
        digests = "".join(configuration_digest(point.scenario) for point in points)
        return cls(root / f"{points[0].scenario.name}-sweep-{hashlib.sha256(digests.encode()).hexdigest()[:8]}")

    @classmethod
    def is_one(cls, path: Path) -> bool:
        """Whether a sweep was begun in a folder."""
        return (path / _RECORD).exists()

    def begin(self, base: Scenario, points: Sequence[Point], seeds: Sequence[int]) -> None:
        """Write which runs belong to the sweep; `base` is the scenario that values are changed in."""
        self.path.mkdir(parents=True, exist_ok=True)
        known = set(self.record()["seeds"]) if self.is_one(self.path) else set()
        record = document(
            "SimulationSweep",
            name=points[0].scenario.name,
            title=points[0].scenario.title,
            question=points[0].scenario.question,
            reading=points[0].scenario.reading,
            seeds=sorted({*known, *seeds}),
            points=[
                {"values": dict(each.values), "configuration": configuration_digest(each.scenario)} for each in points
            ],
        )
        write_atomically(self.path / _SCENARIO, scenario_toml(base).encode(), 0o644)
        write_atomically(self.path / _RECORD, (json.dumps(record, indent=2) + "\n").encode(), 0o644)

    def points(self) -> list[Point]:
        """Return every combination of values, with its scenario."""
        return points_of(Scenario.load(self.path / _SCENARIO))

    def record(self) -> Document:
        """Return ``sweep.json``; `NotFoundError` if this is no sweep's folder."""
        try:
            found: Document = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotFoundError(f"{self.path} is no folder of a sweep: {reason_of(error)}") from error
        return found

    def runs(self) -> list[tuple[Mapping[str, Any], list[RunFolder]]]:
        """Return the values of each point, and its runs that were begun, by seed."""
        begun: dict[str, list[RunFolder]] = {}
        for run in RunFolder.found(self.path):
            begun.setdefault(run.record()["configuration"], []).append(run)
        return [
            (
                point["values"],
                sorted(begun.get(point["configuration"], []), key=lambda run: int(run.record()["seed"])),
            )
            for point in self.record()["points"]
        ]
