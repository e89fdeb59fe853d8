"""Histories of faults: what they are a function of, and that they break nothing."""

from __future__ import annotations

import pytest

from fleet.errors import InvalidInputError
from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.history import Action, History
from fleet.sim.faults.kinds import FAULTS, MEANING, OPERATIONS, Kind
from fleet.sim.faults.running import Outcome, run

#: Histories of the product as it is; `make claims AREA=faults` runs a thousand.
FRESH = range(10_001, 10_051)
#: Histories that found bugs, with the actions that they came down to.
FOUND = {
    "a person of a retired node could not be forgotten": (
        Action(4.0, Kind.ENROL, None, {"person": 0, "nodes": [0, 1]}),
        Action(40.0, Kind.RETIRE, 1),
        Action(60.0, Kind.FORGET, None, {"person": 0}),
    ),
    "a node whose journal failed as it suppressed was held": (
        Action(4.0, Kind.ENROL, None, {"person": 0, "nodes": [0, 1]}),
        Action(59.0, Kind.DISK_FULL, 0, {"lasts_s": 30.0}),
        Action(60.0, Kind.FORGET, None, {"person": 0}),
    ),
    "a forget that a restore had lost made an honest node name somebody whom it had not been told to forget": (
        Action(4.0, Kind.ENROL, None, {"person": 0, "nodes": [2]}),
        Action(5.0, Kind.ENROL, None, {"person": 1, "nodes": [0, 1]}),
        Action(60.0, Kind.FORGET, None, {"person": 1}),
        Action(75.0, Kind.PARTITION, None, {"nodes": [0, 1, 2], "lasts_s": 80.0}),
        Action(80.0, Kind.FORGET, None, {"person": 0}),
        Action(85.0, Kind.COORDINATOR_BACKUP, None, {"age_s": 200.0, "down_s": 2.0}),
    ),
    "a contribution whose key could not be written was put aside, and not said again": (
        Action(30.0, Kind.FSYNC_FAILS, None, {"times": 1}),
        Action(30.01, Kind.ENROL, None, {"person": 0, "nodes": [0]}),
    ),
    "a cohort's rows were gone with the key of their revision": (
        Action(6.0, Kind.ENROL, None, {"person": 0, "nodes": [0, 1]}),
        Action(35.0, Kind.LEARN, None, {"rounds": 2, "shards": 2}),
        Action(60.0, Kind.FORGET, None, {"person": 1}),
        Action(62.5, Kind.COORDINATOR_BACKUP, None, {"age_s": 20.0, "down_s": 10.0}),
    ),
    "half a key file stayed with a coordinator that had died as it wrote it": (
        Action(29.0, Kind.TORN_WRITE, None, {"steps": 1}),
        Action(30.0, Kind.ENROL, None, {"person": 0, "nodes": [0]}),
        Action(30.5, Kind.FORGET, None, {"person": 0}),
    ),
}


#: Histories in which the checker took what is right for broken.
WRONGLY_BROKEN = {"a node that was released served before the coordinator was looked at again": 90}


@pytest.mark.parametrize("seed", WRONGLY_BROKEN.values(), ids=WRONGLY_BROKEN)
def test_what_the_checker_took_for_broken_is_not(seed):
    assert [str(violation) for violation in run(drawn(seed)).violations] == []


@pytest.mark.parametrize("seed", FRESH)
def test_a_history_breaks_no_promise(seed):
    outcome = run(drawn(seed))

    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.events >= 200


@pytest.mark.parametrize("actions", FOUND.values(), ids=FOUND)
def test_what_a_history_has_found_stays_mended(actions):
    outcome = run(History(1, 3, actions))

    assert [str(violation) for violation in outcome.violations] == []


def test_a_history_comes_to_the_same_whenever_it_is_run():
    history = drawn(3)

    first, second = run(history), run(History.parse(history.text()))

    assert _seen(first) == _seen(second)
    assert len(_seen(first)) > 200


def test_a_history_is_read_as_it_was_written():
    history = drawn(7)

    assert History.parse(history.text()).text() == history.text()


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"kind": "FaultHistory", "seed": 1}'])
def test_what_is_no_history_is_refused(text):
    with pytest.raises(InvalidInputError, match="no history of faults"):
        History.parse(text)


def test_every_kind_is_explained_and_fourteen_of_them_are_faults():
    assert MEANING.keys() == set(Kind)
    assert len(FAULTS) >= 14
    assert not OPERATIONS & set(FAULTS)


def test_every_kind_is_drawn():
    kinds = {action.kind for seed in range(200) for action in drawn(seed).actions}

    assert kinds == set(Kind)


def _seen(outcome: Outcome) -> list[tuple[int, float, str, str]]:
    return [(event.step, event.at_s, event.kind, event.node) for event in outcome.record.events]
