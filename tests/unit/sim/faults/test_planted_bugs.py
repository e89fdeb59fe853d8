"""One-line bugs, each found by the history that is stored for it, in which the product as it is breaks nothing."""

from __future__ import annotations

import pytest

from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.running import run
from fleet.sim.faults.shrinking import shrunk
from tests.faults.finding_histories import FINDS
from tests.faults.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found_and_nothing_without_it(mutant):
    history = FINDS[mutant.name]

    assert mutant.outcome(history).violations
    assert [str(violation) for violation in run(history).violations] == []


def test_there_are_twenty_and_a_history_for_each():
    assert len({mutant.name for mutant in MUTANTS}) >= 20
    assert FINDS.keys() == {mutant.name for mutant in MUTANTS}


def test_what_is_found_is_shrunk_to_few_actions_that_still_show_it():
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "forgotten kept in SRAM")
    with mutant.planted():
        found = next(outcome for seed in range(1, 20) if (outcome := run(drawn(seed))).violations)
        small = shrunk(found)

    assert small.violations[0].rule == found.violations[0].rule
    assert len(small.history.actions) < len(found.history.actions) // 2
