import pytest

from fleet.sim.scenario import Scenario, ScenarioError
from fleet.sim.simulation import Simulation

TEXT = 'name = "test"\ntitle = "Test"\nquestion = "Does it hold?"\n'


def scenario(**changes):
    few = {"fleet.nodes": 6, "fleet.people": 5, "time.duration": "2h", "time.heartbeat": "5min", "forgets.at": ["1h"]}
    return Scenario.parse(TEXT, {**few, **changes})


@pytest.fixture
def simulated(tmp_path):
    made = []

    def simulate(seed=1, **changes):
        simulation = Simulation(scenario(**changes), seed, folder=tmp_path / f"run-{len(made)}")
        made.append(simulation)
        while not simulation.done:
            simulation.advance()
        return simulation

    yield simulate
    for simulation in made:
        simulation.close()


def forgets(simulation):
    return simulation.tables["forgets"]


def last(simulation):
    return simulation.tables["state"][-1]


def test_a_forget_reaches_every_node_and_is_verified(simulated):
    simulation = simulated()
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert forget["verdict"] == "EXACT"
    assert forget["verified"] + forget["not_affected"] == 6
    assert forget["suppressed_last_s"] < 1.0
    assert last(simulation)["serving"] == 6


def test_people_are_recognised_and_who_was_forgotten_is_not(simulated):
    after = simulated().tables["answers"][-1]
    assert after["enrolled_accuracy"] > 0.9
    assert after["accepted_forgotten"] == 0.0
    assert after["accepted_strangers"] == 0.0


def test_the_same_seed_gives_the_same_run_and_another_one_another(simulated):
    changes = {"churn.outages_per_day": 8, "churn.crashes_per_day": 8, "enrolments.per_day": 16, "link.reorder": 0.05}
    changes |= {"time.duration": "3h"}
    first, again, other = simulated(**changes), simulated(**changes), simulated(seed=2, **changes)
    assert first.digest() == again.digest() != other.digest()
    for name in ("state", "forgets", "answers", "nodes", "events"):
        assert first.tables[name] == again.tables[name]


def test_a_run_goes_on_from_a_checkpoint_as_if_nothing_had_been(tmp_path):
    changes = {"churn.outages_per_day": 12, "churn.crashes_per_day": 12, "enrolments.per_day": 40, "link.loss": 0.01}
    changes |= {"time.duration": "3h", "time.sample_every": "15min"}
    whole = Simulation(scenario(**changes), 3, folder=tmp_path / "whole")
    for _ in range(5):
        whole.advance()
    saved = whole.saved()
    resumed = Simulation.restored(saved)
    assert resumed.now_s == whole.now_s
    for simulation in (whole, resumed):
        while not simulation.done:
            simulation.advance()
    assert resumed.digest() == whole.digest()
    assert resumed.tables["state"] == whole.tables["state"]
    whole.close()
    resumed.close()


def test_a_node_out_of_reach_stops_serving_with_its_lease_and_forgets_when_it_is_back(simulated):
    away = {"kind": "outage", "at": "30min", "nodes": ["node-3"], "lasts": "4h"}
    simulation = simulated(faults=[away], **{"time.duration": "6h", "time.lease": "1h", "time.sample_every": "10min"})
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert forget["suppressed_last_s"] > 3 * 3600
    assert forget["suppressed_p50_s"] < 1.0
    late = [row for row in simulation.tables["state"] if 2 * 3600 < row["t_s"] < 4 * 3600]
    assert late
    assert all(row["serving"] == 5 for row in late)
    assert last(simulation)["serving"] == 6


def test_nodes_that_crash_forget_after_all(simulated):
    crashes = {"kind": "crash", "at": "1h", "nodes": 1.0, "lasts": "1min"}
    (forget,) = forgets(simulated(faults=[crashes]))
    assert forget["state"] == "converged"
    assert forget["verified"] + forget["not_affected"] == 6


def test_a_coordinator_that_crashes_just_after_the_commit_finishes_it(simulated):
    crash = {"kind": "coordinator-crash", "at": 3600.1, "lasts": "2min"}
    simulation = simulated(faults=[crash])
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert last(simulation)["connected"] == 6


def test_a_node_that_lies_is_held_and_gets_no_lease(simulated):
    lies = {"kind": "lies", "at": 1.0, "nodes": ["node-2"]}
    simulation = simulated(faults=[lies], **{"time.lease": "30min"})
    (forget,) = forgets(simulation)
    assert forget["held"] == 1
    assert forget["state"] != "converged"
    row = simulation.tables["nodes"][1]
    assert row["held"]
    assert not row["serving"]
    assert sum(each["serving"] for each in simulation.tables["nodes"]) == 5


def test_a_lying_node_that_is_retired_holds_nothing_up(simulated):
    lies = {"kind": "lies", "at": 1.0, "nodes": ["node-2"]}
    simulation = simulated(faults=[lies], **{"operator.retire_held_after": "1h", "time.duration": "3h"})
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert forget["retired"] == 1
    assert last(simulation)["nodes"] == 5


def test_a_node_that_is_held_is_retired_when_the_operator_has_waited_so_long(simulated):
    lies = {"kind": "lies", "at": 1.0, "nodes": ["node-2"]}
    patience = {"operator.retire_held_after": "3h", "time.duration": "5h", "time.sample_every": "10min"}
    simulation = simulated(faults=[lies], **patience)
    (retirement,) = [event for event in simulation.tables["events"] if event["kind"] == "retirement"]
    # The forget, whose receipt was a lie, is one hour after the begin.
    assert 4 * 3600 <= retirement["t_s"] < 4.7 * 3600
    assert retirement["node"] == "node-2"


def test_nodes_whose_hello_is_under_way_when_the_coordinator_ends_come_back(simulated):
    # All connect anew at the same moment, and the coordinator ends among their hellos.
    crashes = {"kind": "crash", "at": "30min", "nodes": 1.0, "lasts": 10.0}
    for moment in (1810.05, 1810.2, 1810.35, 1810.5):
        simulation = simulated(faults=[crashes, {"kind": "coordinator-crash", "at": moment, "lasts": 5.0}])
        assert last(simulation)["connected"] == 6
        assert forgets(simulation)[0]["state"] == "converged"


def test_people_are_forgotten_again_after_a_time_when_nobody_was_there(simulated):
    simulation = simulated(
        **{"fleet.people": 0, "forgets.at": [], "forgets.share_per_day": 1.0, "enrolments.per_day": 12}
        | {"fleet.nodes": 2, "time.duration": "36h", "time.heartbeat": "1h", "time.lease": "6h"}
    )
    assert len(forgets(simulation)) > 3


def test_a_node_that_goes_back_to_a_backup_forgets_again(simulated):
    back = {"kind": "restored-backup", "at": "3h", "nodes": ["node-1", "node-4"], "lasts": "150min"}
    simulation = simulated(faults=[back], **{"time.duration": "4h"})
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert simulation.tables["answers"][-1]["accepted_forgotten"] == 0.0
    assert [row["generation"] for row in simulation.tables["nodes"]] == [1] * 6


def test_a_coordinator_whose_clock_jumps_back_still_forgets(simulated):
    jump = {"kind": "clock-jump", "at": "50min", "lasts": "3650d", "backwards": True}
    simulation = simulated(faults=[jump])
    (forget,) = forgets(simulation)
    assert forget["suppressed_last_s"] < 1.0
    assert forget["verified"] + forget["not_affected"] == 6


def test_messages_that_are_lost_repeated_and_overtaken_cost_time_only(simulated):
    simulation = simulated(**{"link.loss": 0.05, "link.duplicate": 0.05, "link.reorder": 0.05})
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert forget["held"] == 0
    assert last(simulation)["messages_lost"] > 0


def test_nodes_join_and_are_retired(simulated):
    simulation = simulated(**{"churn.joins_per_day": 120, "churn.retirements_per_day": 48})
    kinds = [event["kind"] for event in simulation.tables["events"]]
    assert "join" in kinds
    assert "retirement" in kinds
    assert last(simulation)["nodes"] == 6 + kinds.count("join") - kinds.count("retirement")
    assert last(simulation)["serving"] == last(simulation)["nodes"]


def test_more_people_than_the_task_has_are_refused(tmp_path):
    with pytest.raises(ScenarioError, match=r"fleet.people is 9, but task speakers has 4"):
        Simulation(scenario(**{"fleet.task": "speakers", "fleet.people": 9}), 1, folder=tmp_path)


@pytest.mark.parametrize("learning", [{"learning.rounds": 1}, {"learning.shards": 2, "learning.rounds": 1}])
def test_real_chips_learn_and_forget_the_same_in_whatever_chunks(tmp_path, learning):
    changes = {"fleet.task": "speakers", "fleet.nodes": 3, "fleet.people": 3, "time.duration": "2h", **learning}
    digests = set()
    for chunk in (1, 2):
        simulation = Simulation(scenario(**changes), 1, folder=tmp_path / str(chunk), chunk=chunk)
        while not simulation.done:
            simulation.advance()
        digests.add(simulation.digest())
        simulation.close()
    assert len(digests) == 1
    (forget,) = forgets(simulation)
    assert forget["state"] == "converged"
    assert forget["verdict"] == ("EXACT" if "learning.shards" in learning else "APPROXIMATE EXACT")
    assert forget["cell_writes"] == 0
    answers = simulation.tables["answers"]
    assert answers[0]["enrolled_accuracy"] > 0.8
    assert answers[-1]["accepted_forgotten"] == 0.0
    assert len(simulation.tables["rounds"]) >= 2
