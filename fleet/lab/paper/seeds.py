"""Running the seeds of a task, and keeping those that are finished."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from reram_fleet.processes.durable import write_atomically

from edge_node.errors import TaskError
from fleet.documents import API_VERSION, Document, document
from fleet.errors import InvalidInputError
from fleet.lab.paper.arms import Progress
from fleet.lab.paper.measures import PaperTask

#: Changes when the same settings give other figures: what is stored is then not taken for them.
_VERSION = 1


class _Task(Protocol):
    """A module of this package that runs one task."""

    SEEDS: Sequence[int]

    def run(self, seed: int, progress: Progress) -> Any:
        """Return one seed's figures, a dataclass of plain numbers."""

    def settings(self) -> str:
        """Return everything that the figures depend on beside the seed."""


def run_seeds(task: PaperTask, count: int | None, progress: Progress, folder: Path | None) -> list[Document]:
    """Return the first seeds of a task, each a document with its number and figures.

    Sets torch to one thread: with several, small products are slower on shared cores, and may round
    differently.

    Parameters
    ----------
    task
        What to run.
    count
        How many seeds; all of the task's if None.
    progress
        DemoResult what is being done.
    folder
        Where finished seeds are kept and looked for; numbers only. Nothing is kept if None.

    Raises
    ------
    InvalidInputError
        If there are not so many seeds, the data are missing, or the folder cannot be written to.
    """
    module: _Task = importlib.import_module(f"fleet.lab.paper.{task.value}")  # type: ignore[assignment]
    seeds = list(module.SEEDS)
    if count is not None and not 1 <= count <= len(seeds):
        raise InvalidInputError(
            f"{task.value} has {len(seeds)} seeds that chose nothing; got {count}",
            hint=f"Give --seeds 1 to {len(seeds)}.",
        )
    torch.set_num_threads(1)
    try:
        return [
            _seed(module, task, seed, lambda text, seed=seed: progress(f"Seed {seed}, {text}"), folder)
            for seed in seeds[:count]
        ]
    except TaskError as error:
        raise InvalidInputError(str(error)) from error


def _seed(module: _Task, task: PaperTask, seed: int, progress: Progress, folder: Path | None) -> Document:
    settings = hashlib.sha256(f"{_VERSION} {torch.__version__} {module.settings()}".encode()).hexdigest()
    expected = document("PaperSeed", task=task.value, seed=seed, settings=settings)
    path = folder / f"paper-{task.value}-seed-{seed}.json" if folder is not None else None
    if path is not None and (stored := _stored(path, expected)) is not None:
        return stored
    finished = expected | {"figures": asdict(module.run(seed, progress))}
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(finished, indent=2) + "\n").encode())
        except OSError as error:
            raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
    return finished


def _stored(path: Path, expected: Document) -> Document | None:
    """Return a finished seed; None if there is none of these settings, or the file is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(found, dict) or found.get("api_version") != API_VERSION:
        return None
    same = all(found.get(name) == value for name, value in expected.items())
    return found if same and isinstance(found.get("figures"), dict) else None
