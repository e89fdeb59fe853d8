"""Folder of a coordinator with two nodes and one forget behind it, and an examination of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.config import Context
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.testing import SteppedCoordinator
from fleet.doctor.examination import examine
from fleet.doctor.findings import Finding, State
from fleet.doctor.target import Target
from tests.unit.coordinator.small_fleet import ANN, BOB, make_nodes

Examine = Callable[..., list[Finding]]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examined") / "coordinator"
    coordinator = SteppedCoordinator(folder)
    nodes = make_nodes(coordinator)
    for tag in (ANN, BOB):
        coordinator.forget(f"forget-{tag}", tag)
        coordinator.converse(*nodes)
    coordinator.close()
    return folder


@pytest.fixture
def folder(made, tmp_path) -> CoordinatorFolder:
    shutil.copytree(made, tmp_path / "coordinator")
    return CoordinatorFolder(tmp_path / "coordinator")


@pytest.fixture
def found(folder) -> Examine:
    """Return the findings in an area, or of a state, or both."""

    def look(area: str = "", state: State | None = None, where: CoordinatorFolder = folder) -> list[Finding]:
        findings = examine(Target.find(Context(), where))
        return [each for each in findings if area in ("", each.area) and state in (None, each.state)]

    return look


@pytest.fixture
def failure(found) -> Callable[[str], Finding]:
    """Return the first failure of an area."""

    def look(area: str) -> Finding:
        return found(area, State.FAILURE)[0]

    return look
