"""Chips of a scenario whose cells age with its time, and the calibrations that it asks for."""

from __future__ import annotations

import pytest

from fleet.sim import gallery
from fleet.sim.scenario import Chip, ScenarioError
from fleet.sim.simulation import Simulation
from hwmodel import relaxation_names

CHANGES = {
    "fleet.nodes": 2,
    "fleet.people": 2,
    "time.duration": "50h",
    "time.sample_every": "21h",
    "time.heartbeat": "2h",
    "chip.calibrate_every": "18h",
    "forgets.at": ["30h"],
    "enrolments.per_day": 0.0,
}


def simulated(folder, changes=None, **options) -> Simulation:
    return Simulation(gallery.load("chip-ageing").changed({**CHANGES, **(changes or {})}), 1, folder=folder, **options)


def finished(simulation: Simulation) -> Simulation:
    while not simulation.done:
        simulation.advance()
    return simulation


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> Simulation:
    return finished(simulated(tmp_path_factory.mktemp("calibrated")))


def test_every_node_calibrates_when_it_is_due_and_pays_for_its_reads(calibrated: Simulation, tmp_path) -> None:
    never = finished(simulated(tmp_path, {"chip.calibrate_every": "9999d"}))
    (last, other) = (each.tables["state"][-1] for each in (calibrated, never))

    assert [row["calibrations"] for row in calibrated.tables["state"]] == [0, 2, 4]
    assert other["calibrations"] == 0
    assert last["joules_infer"] > other["joules_infer"]
    assert last["cell_writes"] == other["cell_writes"]
    assert [row["verdict"] for row in calibrated.tables["forgets"]] == ["EXACT"]


def test_nodes_are_asked_at_each_look_since_their_chips_change_by_themselves(calibrated: Simulation) -> None:
    assert len(calibrated.tables["answers"]) == len(calibrated.tables["state"]) == 3


def test_ageing_chips_end_alike_in_other_chunks_and_from_a_checkpoint(calibrated: Simulation, tmp_path) -> None:
    begun = simulated(tmp_path, chunk=1)
    while begun.now_s < 22 * 3600:
        begun.advance()

    resumed = finished(Simulation.restored(begun.saved()))

    assert resumed.digest() == calibrated.digest()
    for name in ("state", "answers"):
        assert resumed.tables[name] == calibrated.tables[name]


def test_cells_cannot_age_by_a_model_that_does_not_cover_their_window(tmp_path) -> None:
    with pytest.raises(ScenarioError, match=r"chip\.relaxation cannot be 'wan': preset 22nm"):
        simulated(tmp_path, {"chip.relaxation": "wan"})


def test_made_up_chips_have_no_life() -> None:
    with pytest.raises(ScenarioError, match="no cells that age or calibrate"):
        gallery.load("first-forget").changed({"chip.calibrate_every": "1d"})


def test_scenarios_take_every_relaxation_that_there_is() -> None:
    (annotation, _) = Chip.model_fields["relaxation"].annotation.__args__
    assert annotation.__args__ == relaxation_names()
