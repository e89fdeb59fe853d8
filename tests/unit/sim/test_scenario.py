import pytest

from fleet.sim.scenario import Scenario, ScenarioError

TEXT = 'name = "test"\ntitle = "Test"\nquestion = "Does it hold?"\n'


def parsed(**changes):
    return Scenario.parse(TEXT, changes)


def test_times_are_numbers_of_seconds_or_text_with_a_unit():
    found = parsed(**{"time.lease": "2.5h", "time.heartbeat": 90, "link.latency": ["5ms", "1s"]})
    assert (found.time.lease, found.time.heartbeat, found.link.latency) == (9000.0, 90.0, (0.005, 1.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time.lease": "2 weeks"}, "'2 weeks' is no duration"),
        ({"time.lease": -1}, "time.lease: Input should be greater than 0"),
        ({"fleet.nodes": 3, "fleet.nodes_per_person": 4}, "nodes_per_person is 4, but there are only 3 nodes"),
        ({"fleet.task": "chess"}, "there is no task 'chess'"),
        ({"fleet.preset": "7nm"}, "there is no preset '7nm'"),
        ({"link.latency": ["1s", "5ms"]}, r"latency is \[least, greatest\]"),
        ({"learning.rounds": 2}, "a made-up task has nothing to learn"),
        ({"time.colour": "blue"}, "time.colour: Extra inputs are not permitted"),
        ({"name.colour": "blue"}, "'name.colour' names no value of a scenario"),
        ({"faults": [{"kind": "crash", "at": "2d", "nodes": 0.5}]}, "is after the end"),
        ({"faults": [{"kind": "crash", "at": "1h"}]}, "a fault of kind crash meets nobody"),
        ({"faults": [{"kind": "lies", "at": "1h", "nodes": ["node-99"]}]}, "names 'node-99', which is no node"),
        ({"faults": [{"kind": "crash", "at": "1h", "nodes": 1.5}]}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_simulated_is_refused_and_named(changes, said):
    with pytest.raises(ScenarioError, match=said):
        parsed(**changes)


def test_every_line_that_is_wrong_is_named():
    with pytest.raises(ScenarioError) as caught:
        parsed(**{"time.lease": "2 weeks", "fleet.nodes": 0, "link.loss": 2})
    assert all(key in str(caught.value) for key in ("time.lease", "fleet.nodes", "link.loss"))


def test_a_fault_may_name_a_node_that_joins_later():
    crash = {"kind": "crash", "at": "1h", "nodes": ["node-00020"]}
    assert parsed(faults=[crash], **{"churn.joins_per_day": 5}).faults[0].nodes == ("node-00020",)
