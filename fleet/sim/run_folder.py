"""Folder of a run: scenario, record, tables and checkpoint of one simulation, each file whole or not there."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
from reram_fleet.processes.durable import locked, write_atomically

from fleet.documents import Document, document
from fleet.errors import ConflictError, InvalidInputError, NotFoundError, reason_of
from fleet.sim.scenario import Scenario

#: Packages whose versions are recorded: what a result may depend on.
_PACKAGES = ("flwr", "numpy", "pyarrow", "reram-fleet", "scipy", "torch")
#: Texts for readers, and values of which a run takes one: they change nothing of what is simulated.
_NOT_SIMULATED = frozenset({"title", "question", "reading", "sweep"})
_SCENARIO, _RECORD, _CHECKPOINT, _METRICS, _LOCK = "scenario.toml", "run.json", "checkpoint", "metrics.prom", ".lock"


class RunState(StrEnum):
    """State of a run."""

    RUNNING = "running"
    #: Its process ended before it was done; `fleet sim resume` goes on.
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    FAILED = "failed"


def versions() -> dict[str, str]:
    """Return the versions of what a result may depend on, and a checkpoint is written by."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def configuration_digest(scenario: Scenario) -> str:
    """Return the SHA-256 (hex) over what is simulated: equal for scenarios that differ in their texts only."""
    plain = scenario.model_dump(mode="json", exclude=set(_NOT_SIMULATED))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def scenario_toml(scenario: Scenario) -> str:
    """Return a scenario as the text of a file, every value resolved."""
    plain = scenario.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({key: value for key, value in plain.items() if value != {}}, multiline_strings=True)


class RunFolder:
    """Folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, root: Path, scenario: Scenario, seed: int) -> RunFolder:
        """Return the folder of a scenario and a seed, which need not be there yet."""
        return cls(root / f"{scenario.name}-s{seed}-{configuration_digest(scenario)[:8]}")

    @classmethod
    def found(cls, root: Path) -> list[RunFolder]:
        """Return the runs that lie in a folder, in the order in which they were begun."""
        runs = [cls(path.parent) for path in root.glob(f"*/{_RECORD}")]
        return sorted(runs, key=lambda run: (run.record()["started_at_unix_ms"], run.path.name))

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / _RECORD).exists()

    def record(self) -> Document:
        """Return ``run.json``, with the state as it is now; `NotFoundError` if this is no run's folder."""
        try:
            found: Document = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"{self.path} is no folder of a run: {reason_of(error)}", hint="`fleet sim list` shows runs"
            ) from error
        if found["state"] == RunState.RUNNING and not self._is_held():
            found["state"] = str(RunState.INTERRUPTED)
        return found

    def scenario(self) -> Scenario:
        """Return the resolved scenario."""
        return Scenario.load(self.path / _SCENARIO)

    def checkpoint(self) -> bytes | None:
        """Return the newest checkpoint, or None."""
        path = self.path / _CHECKPOINT
        return path.read_bytes() if path.exists() else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for the process that simulates; `ConflictError` while another one does."""
        try:
            with locked(self.path / _LOCK, wait=False):
                yield
        except BlockingIOError as error:
            raise ConflictError(f"{self.path} is being simulated by another process") from error
        except OSError as error:
            raise InvalidInputError(f"cannot write into {self.path}: {reason_of(error)}") from error

    def begin(self, scenario: Scenario, seed: int, *, force: bool) -> None:
        """Write scenario and record of a run that has yet to be simulated; the folder must be held.

        `ConflictError` if a run is there already, and `force` is not given: then all of it is removed.
        """
        if self.exists() and not force:
            again = "--force simulates it again"
            if self.record_as_written()["state"] == RunState.RUNNING:
                raise ConflictError(
                    f"{self.path} was interrupted", hint=f"`fleet sim resume {self.path}` goes on; {again}"
                )
            raise ConflictError(f"{self.path} is there already", hint=f"`fleet sim show {self.path}`; {again}")
        self.tidy()
        for leftover in self.path.iterdir():
            if leftover.name != _LOCK and leftover.is_file():
                leftover.unlink()
        write_atomically(self.path / _SCENARIO, scenario_toml(scenario).encode(), 0o644)
        self._write(
            document(
                "SimulationRun",
                name=scenario.name,
                title=scenario.title,
                seed=seed,
                configuration=configuration_digest(scenario),
                state=str(RunState.RUNNING),
                now_s=0.0,
                duration_s=scenario.time.duration,
                digest=None,
                started_at_unix_ms=int(1000 * time.time()),
                finished_at_unix_ms=None,
                wall_clock_s=0.0,
                resumed=0,
                versions=versions(),
                error="",
                figures={},
            )
        )

    def record_as_written(self) -> Document:
        """Return ``run.json`` as its process left it: what is running, or was interrupted, says "running"."""
        found: Document = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
        return found

    def note(self, **changed: Any) -> None:
        """Change fields of the record; the folder must be held."""
        self._write({**self.record_as_written(), **changed})

    def write_checkpoint(self, content: bytes) -> None:
        """Replace the checkpoint."""
        write_atomically(self.path / _CHECKPOINT, content)

    def write_metrics(self, page: bytes) -> None:
        """Replace ``metrics.prom``."""
        write_atomically(self.path / _METRICS, page, 0o644)

    @property
    def coordinator(self) -> Path:
        """Folder for what the simulated coordinator keeps in files."""
        return self.path / "coordinator"

    @property
    def log(self) -> Path:
        """File of what coordinator and nodes warn of."""
        return self.path / "run.log"

    def tidy(self) -> None:
        """Remove what a run that is done needs no longer."""
        (self.path / _CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(self.coordinator, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of it; the folder must be held."""
        shutil.rmtree(self.path)

    def siblings(self) -> list[RunFolder]:
        """Return the finished runs beside this one, and it, that differ from it by their seeds only."""
        mine = self.record()
        beside = [
            run
            for run in self.found(self.path.resolve().parent)
            if _same(run.record(), mine) and run.record()["state"] == RunState.FINISHED
        ]
        return sorted(beside, key=lambda run: int(run.record()["seed"]))

    def _is_held(self) -> bool:
        try:
            with locked(self.path / _LOCK, wait=False):
                return False
        except BlockingIOError:
            return True
        except OSError:
            # A folder that may only be read: nobody simulates in it.
            return False

    def _write(self, record: Document) -> None:
        write_atomically(self.path / _RECORD, (json.dumps(record, indent=2) + "\n").encode(), 0o644)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["name"], one["configuration"]) == (other["name"], other["configuration"])
