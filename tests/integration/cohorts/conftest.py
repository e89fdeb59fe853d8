"""Trained fleets with cohort shards, copied for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.cohorts.cohort_fleet import CohortFleet
from tests.integration.cohorts.story import build


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> CohortFleet:
    """Return a trained fleet, closed: to be copied."""
    fleet = build(tmp_path_factory.mktemp("trained") / "fleet")
    fleet.coordinator.close()
    return fleet


@pytest.fixture(scope="session")
def never(tmp_path_factory) -> Callable[..., dict[str, list[int]]]:
    """Return the rows of a fleet in which somebody never was."""
    known: dict[tuple[str, ...], dict[str, list[int]]] = {}

    def rows(*absent: str) -> dict[str, list[int]]:
        if absent not in known:
            fleet = build(tmp_path_factory.mktemp("never") / "fleet", *absent)
            known[absent] = fleet.rows()
            fleet.coordinator.close()
        return known[absent]

    return rows


@pytest.fixture
def fleet(trained, tmp_path):
    fleet = trained.copy(tmp_path / "fleet")
    yield fleet
    fleet.coordinator.close()
