"""Health of a coordinator: that it fails when something stands still, and when no call would be taken."""

from __future__ import annotations

import pytest

from fleet.coordinator.metrics.health import STANDSTILL_S, Health


@pytest.fixture
def health(coordinator):
    found = Health(coordinator.coordinator)
    found.serving = True
    return found


def test_a_coordinator_that_has_just_looked_is_well_and_ready(health):
    assert (health.sick(), health.unready()) == ("", "")


def test_a_loop_that_stands_still_is_neither(health, coordinator):
    coordinator.coordinator.looked_s -= STANDSTILL_S + 1
    assert "stands still" in health.sick()
    assert "stands still" in health.unready()


def test_it_is_not_ready_before_its_port_takes_calls_but_well(health):
    health.serving = False
    assert (health.sick(), health.unready()) == ("", "the gRPC port does not take calls")


def test_it_is_not_ready_without_its_database_but_need_not_be_started_anew(health, coordinator, monkeypatch, tmp_path):
    coordinator.coordinator.database.store.close()
    for file in tmp_path.rglob("fleet.db*"):
        file.write_bytes(b"no database")
    assert "the database cannot be read" in health.unready()
    assert health.sick() == ""
