"""One-line bugs, each found by the history that is stored for it, in which the product as it is breaks nothing."""

from __future__ import annotations

import pytest

from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.running import run
from fleet.sim.faults.shrinking import shrunk
from tests.faults.mutants import MUTANTS, WITHIN


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant):
    assert 1 <= mutant.seed <= WITHIN

    assert mutant.outcome().violations


@pytest.mark.parametrize("seed", sorted({mutant.seed for mutant in MUTANTS}))
def test_the_same_history_finds_nothing_without_the_bug(seed):
    assert [str(violation) for violation in run(drawn(seed)).violations] == []


def test_there_are_twenty():
    assert len({mutant.name for mutant in MUTANTS}) >= 20


def test_what_is_found_is_shrunk_to_few_actions_that_still_show_it():
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "forgotten kept in SRAM")
    with mutant.planted():
        outcome = mutant.outcome()
        small = shrunk(outcome)

    assert small.violations[0].rule == outcome.violations[0].rule
    assert len(small.history.actions) <= 4
