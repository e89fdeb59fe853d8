"""Runs in their folders: what they leave, and what does not change their result."""

from __future__ import annotations

import json
import logging
import pickle

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleet import sim
from fleet.errors import ConflictError
from fleet.sim import gallery
from fleet.sim.execution import Execution, SimulationFailedError, resume_run, run_scenario
from fleet.sim.run_folder import RunFolder, configuration_digest, scenario_toml
from fleet.sim.scenario import Scenario, ScenarioError
from fleet.sim.simulation import Simulation


def test_run_leaves_its_scenario_its_record_and_its_tables(finished, small):
    left = {path.name for path in finished.folder.iterdir()}
    record = json.loads((finished.folder / "run.json").read_text())

    assert left >= {"scenario.toml", "run.json", "state.parquet", "forgets.parquet", "nodes.parquet", "metrics.prom"}
    assert left.isdisjoint({"checkpoint", "coordinator"})
    assert finished.folder.name == f"small-s1-{record['configuration'][:8]}"
    assert finished.scenario == small
    assert (record["state"], record["seed"], record["now_s"]) == ("finished", 1, 1200.0)
    assert record["versions"].keys() >= {"python", "torch", "reram-fleet"}
    assert record["figures"]["forgets"] == 1
    assert pq.read_table(finished.folder / "state.parquet").num_rows == finished.tables["state"].num_rows > 9


def test_metrics_of_a_run_are_what_its_tables_end_with(finished):
    text = (finished.folder / "metrics.prom").read_text()
    samples = {
        (sample.name, *(v for k, v in sample.labels.items() if k not in ("scenario", "seed", "source"))): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    last = {name: values[-1] for name, values in finished.tables["state"].to_pydict().items()}

    assert samples[("fleet_sim_virtual_time_seconds",)].value == 1200.0
    assert samples[("fleet_sim_nodes",)].value == last["nodes"] == 3
    assert samples[("fleet_sim_energy_joules_total", "radio")].value == pytest.approx(last["joules_radio"])
    assert samples[("fleet_sim_forgets", "converged")].value == 1
    assert {sample.labels["scenario"] for sample in samples.values()} == {"small"}


def test_same_seed_gives_the_same_digest_and_another_seed_another(finished, small, tmp_path):
    again = sim.run(small, seed=1, output=tmp_path, chunk=2)
    other = sim.run(small, seed=2, output=tmp_path)

    assert again.digest == finished.digest
    assert other.digest != finished.digest


def test_run_that_is_finished_is_read_by_python_and_refused_by_the_command(finished, small):
    begun = json.loads((finished.folder / "run.json").read_text())["started_at_unix_ms"]

    assert sim.run(small, seed=1, output=finished.folder.parent).digest == finished.digest
    assert json.loads((finished.folder / "run.json").read_text())["started_at_unix_ms"] == begun
    with pytest.raises(ConflictError, match="is there already"):
        run_scenario(small, 1, finished.folder.parent, Execution())
    with pytest.raises(ConflictError, match="is finished"):
        resume_run(RunFolder(finished.folder), Execution())


def test_warnings_of_coordinator_and_nodes_go_into_the_folder(small, tmp_path):
    lies = small.changed({"faults": [{"kind": "lies", "at": "1min", "nodes": 1.0}]})

    run_scenario(lies, 1, tmp_path, Execution())

    assert "is held" in (RunFolder.of(tmp_path, lies, 1).path / "run.log").read_text()
    assert logging.getLogger("fleet").handlers == []


class Stopped(BaseException):
    """End of a process, as far as a test needs one."""


def test_run_that_was_interrupted_goes_on_from_its_checkpoint_with_the_same_digest(finished, small, tmp_path):
    steps = []

    def stop(folder, simulation):
        steps.append(simulation.now_s)
        if len(steps) == 8:
            raise Stopped

    with pytest.raises(Stopped):
        run_scenario(small, 1, tmp_path, Execution(checkpoint_every_s=0, watch=stop))
    folder = RunFolder.of(tmp_path, small, 1)
    assert folder.record()["state"] == "interrupted"
    assert folder.checkpoint()
    with pytest.raises(ConflictError, match="was interrupted"):
        run_scenario(small, 1, tmp_path, Execution())

    went_on = []
    resume_run(folder, Execution(watch=lambda _, simulation: went_on.append(simulation.now_s)))

    assert went_on[0] == steps[-2] > 0
    assert folder.record()["resumed"] == 1
    assert folder.record()["digest"] == finished.digest


def test_checkpoint_of_another_version_is_refused_and_left(small, tmp_path):
    def stop(folder, simulation):
        if folder.checkpoint():
            raise Stopped

    with pytest.raises(Stopped):
        run_scenario(small, 1, tmp_path, Execution(checkpoint_every_s=0, watch=stop))
    folder = RunFolder.of(tmp_path, small, 1)
    with folder.held():
        folder.note(versions={**folder.record()["versions"], "torch": "1.0"})

    with pytest.raises(ConflictError, match="another version of torch"):
        resume_run(folder, Execution())
    assert folder.record()["state"] == "interrupted"
    assert folder.checkpoint()


def test_run_that_fails_says_why_and_keeps_what_it_had(small, tmp_path, monkeypatch):
    def break_down(self):
        raise ValueError("the fleet is on fire")

    monkeypatch.setattr(Simulation, "advance", break_down)
    with pytest.raises(SimulationFailedError, match="ValueError: the fleet is on fire"):
        run_scenario(small, 1, tmp_path, Execution())

    record = RunFolder.of(tmp_path, small, 1).record()
    assert (record["state"], record["error"]) == ("failed", "ValueError: the fleet is on fire")


def test_run_that_cannot_be_simulated_leaves_nothing(small, tmp_path):
    too_many = small.changed({"fleet.task": "speakers", "fleet.people": 9})

    with pytest.raises(ScenarioError, match="has 4"):
        run_scenario(too_many, 1, tmp_path, Execution())

    assert list(tmp_path.iterdir()) == []


def test_run_that_another_process_simulates_is_left_alone(small, tmp_path):
    folder = RunFolder.of(tmp_path, small, 1)
    with folder.held():
        folder.begin(small, 1, force=False)

        assert folder.record()["state"] == "running"
        with pytest.raises(ConflictError, match="another process"):
            run_scenario(small, 1, tmp_path, Execution(), force=True)


def test_configuration_is_what_is_simulated_and_not_what_is_said_of_it(small):
    said = small.changed({"title": "Another title", "sweep": {"time.lease": ["1h"]}})
    longer = small.changed({"time.lease": "2h"})

    assert configuration_digest(said) == configuration_digest(small) != configuration_digest(longer)


@pytest.mark.parametrize("name", gallery.names())
def test_resolved_scenario_reads_back_as_the_same(name):
    found = gallery.load(name)

    assert Scenario.parse(scenario_toml(found)) == found


def test_changes_that_cannot_be_simulated_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(ScenarioError, match=r"fleet\.nodes: Input should be greater than or equal to 1"):
        sim.run("first-forget", nodes=0, output=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_python_has_plots_and_a_report(finished, tmp_path):
    figure = finished.plot()
    page = finished.report(tmp_path / "small.html").read_text()

    assert {axis.get_title(loc="left") for axis in figure.axes} >= {"Nodes", "Energy by phase, all nodes"}
    assert finished.digest[:16] in page
    # Nothing to fetch, nothing to run.
    assert [tag for tag in ("<script", "<link", "<img", "<iframe") if tag in page] == []
    assert pickle.loads(pickle.dumps(finished)).digest == finished.digest
