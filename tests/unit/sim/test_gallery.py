"""Scenarios that come with the simulator, and what is published of their keys."""

from __future__ import annotations

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from fleet.errors import NotFoundError
from fleet.sim import gallery
from fleet.sim.schema import scenario_schema
from fleet.sim.simulation import Simulation
from fleet.sim.sweep import points_of
from tests.simulation_page import PAGE, SCHEMA, page

ASKED_FOR = {
    *("first-forget", "forget-storm", "month-offline", "chip-ageing", "technology-comparison", "lease-trade-off"),
    *("continual-learning", "shards", "lying-nodes"),
}


def test_gallery_has_what_was_asked_for():
    assert set(gallery.names()) >= ASKED_FOR
    page_text = PAGE.read_text(encoding="utf-8")
    assert [name for name in gallery.names() if f"- `{name}`" not in page_text] == []


@pytest.mark.parametrize("name", gallery.names())
def test_scenario_says_what_it_shows_and_fits_the_published_schema(name):
    found = gallery.load(name)

    assert found.name == name
    assert found.question.endswith("?")
    assert len(found.reading) > 100
    assert list(Draft202012Validator(scenario_schema()).iter_errors(tomllib.loads(gallery.text(name)))) == []


@pytest.mark.parametrize("name", [name for name in gallery.names() if gallery.load(name).sweep])
def test_every_value_of_a_sweep_can_be_simulated(name):
    found = gallery.load(name)

    assert len(points_of(found)) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", gallery.names())
def test_scenario_can_be_simulated_at_every_technology_that_it_names(name, tmp_path):
    found = gallery.load(name)
    nodes = min(found.fleet.nodes, max(3, found.fleet.nodes_per_person))
    few = found.changed({"fleet.nodes": nodes, "fleet.people": min(found.fleet.people, 3)})
    for number, preset in enumerate(found.sweep.get("fleet.preset", [found.fleet.preset])):
        simulation = Simulation(few.changed({"fleet.preset": preset}), 1, folder=tmp_path / str(number))
        simulation.advance()

        assert simulation.now_s > 0
        assert simulation.tables["state"][-1]["serving"] > 0
        simulation.close()


def test_forgets_are_not_ordered_in_the_very_moment_of_a_look():
    for name in gallery.names():
        found = gallery.load(name)
        assert [at for at in found.forgets.at if at % found.time.sample_every == 0] == [], name


def test_name_that_the_gallery_lacks_is_told_with_those_that_it_has():
    with pytest.raises(NotFoundError, match="no scenario 'first-forgot'") as refused:
        gallery.load("first-forgot")

    assert "first-forget" in refused.value.hint


def test_published_schema_and_reference_are_those_of_the_code():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == scenario_schema(), "make simulation-page"
    assert PAGE.read_text(encoding="utf-8") == page(), "make simulation-page"


def test_schema_refuses_what_the_model_refuses():
    table = tomllib.loads(gallery.text("first-forget"))
    errors = Draft202012Validator(scenario_schema())

    for key, value in (("duration", "2 weeks"), ("lease", 0), ("hearbeat", "60s")):
        wrong = {**table, "time": {**table["time"], key: value}}
        assert list(errors.iter_errors(wrong)), (key, value)
