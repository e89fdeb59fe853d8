"""Metrics of a run, and the board that shows them."""

from __future__ import annotations

import re

from fleet.metrics.boards import ALL_BOARDS
from fleet.metrics.boards.simulation import SIMULATION
from fleet.sim.metrics import RunCollector
from tests.metrics_page import name_of

EXPORTED = {name_of(family) for family in RunCollector().describe()}


def test_board_shows_all_that_a_run_exports_and_nothing_else():
    asked = {name for panel in SIMULATION.panels for query in panel.queries for name in re.findall(r"\w+", query.expr)}

    assert {name for name in asked if name.startswith("fleet_")} == EXPORTED


def test_what_is_simulated_has_names_that_no_board_of_a_fleet_asks_for():
    others = " ".join(query.expr for board in ALL_BOARDS for panel in board.panels for query in panel.queries)
    of_fleets = others.replace(" ".join(q.expr for p in SIMULATION.panels for q in p.queries), "")

    assert all(name.startswith("fleet_sim_") for name in EXPORTED)
    assert "fleet_sim_" not in of_fleets


def test_run_that_has_not_begun_has_families_and_no_samples():
    assert [family.name for family in RunCollector().collect() if family.samples] == []
