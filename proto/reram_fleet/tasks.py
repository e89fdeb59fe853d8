"""Registry of tasks: plug-ins that are found through entry points, by the name of the task.

A task has two entry points of its name: itself, in the group `TASKS`, and the range of the integers that its nodes
send, in `CODE_RANGES`. They are apart since a coordinator needs the second, and has no torch to load the first with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reram_fleet.code_ranges import CodeRange
from reram_fleet.processes.command_line import DISTRIBUTION, missing_package

TASKS = "reram_fleet.tasks"
CODE_RANGES = "reram_fleet.code_ranges"


class TaskPluginError(LookupError):
    """A task that nobody gives, that two give, or that cannot be loaded."""


def task_names() -> tuple[str, ...]:
    """Return the names of the tasks that are installed, sorted."""
    return tuple(sorted({*_found(TASKS), *_found(CODE_RANGES)}))


def distributions_of(name: str) -> tuple[str, ...]:
    """Return the distributions that give a task, sorted: one, unless it cannot be used."""
    points = (*_found(TASKS).get(name, ()), *_found(CODE_RANGES).get(name, ()))
    return tuple(sorted(set(map(_distribution, points))))


def code_range(name: str) -> CodeRange:
    """Return the range of the integers that a task's nodes send, without loading the task.

    `TaskPluginError` if no distribution, or more than one, gives it, or what is given is not a `CodeRange`.
    """
    found: CodeRange = _load(CODE_RANGES, name, CodeRange)
    return found


def load_task(name: str, *kinds: type) -> Any:
    """Return a task as its distribution gives it; `edge_node.tasks` says what a node needs of one.

    `TaskPluginError` if no distribution, or more than one, gives it, it cannot be imported, or it is of another kind.

    Parameters
    ----------
    kinds
        Classes, or protocols that can be checked when the program runs; the task is of one of them, if any are given.
    """
    return _load(TASKS, name, *kinds)


def _load(group: str, name: str, *kinds: type) -> Any:
    points = _found(group).get(name, ())
    if not points:
        raise TaskPluginError(_absence(group, name))
    if len(points) > 1:
        givers = " and ".join(sorted(map(_distribution, points)))
        raise TaskPluginError(f"task {name!r} is given by {givers}: uninstall all but one of them")
    (point,) = points
    given = f"entry point {name} = {point.value} ({group}) of the distribution {_distribution(point)}"
    try:
        found = point.load()
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and missing_package(error):
            # One of our own extras: the command line says which.
            raise
        raise TaskPluginError(f"{given} cannot be loaded ({type(error).__name__}: {error})") from error
    if kinds and not isinstance(found, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TaskPluginError(f"{given} is of type {type(found).__name__}, expected {expected}")
    return found


def _absence(group: str, name: str) -> str:
    known = task_names()
    if name in known:
        return f"task {name!r} has no entry point in the group {group}: its distribution must declare one"
    if not known:
        return f"no task is installed: the metadata of {DISTRIBUTION} are older than its code; install it again"
    return f"there is no task {name!r}; known: {', '.join(known)}"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "without a name"


@cache
def _found(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    points: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=group):
        points[point.name].append(point)
    return {name: tuple(each) for name, each in points.items()}
