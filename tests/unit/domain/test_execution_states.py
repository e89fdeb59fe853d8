import itertools

import pytest

from fleet.domain.execution import AWAITED, EXCEPTED, SUCCESS, TERMINAL, TRANSITIONS, ExecutionState, advance
from fleet.errors import ConflictError, IllegalTransitionError

S = ExecutionState


def test_every_state_has_a_row_in_the_table():
    assert set(TRANSITIONS) == set(ExecutionState)


@pytest.mark.parametrize(("current", "target"), list(itertools.product(S, S)))
def test_every_step_that_the_table_does_not_list_raises(current, target):
    if target == current or target in TRANSITIONS[current]:
        assert advance(current, target) is target
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {current} to {target}"):
            advance(current, target)


def test_a_claim_is_never_skipped_on_the_way_to_verified():
    assert [state for state in S if S.VERIFIED in TRANSITIONS[state]] == [S.APPLIED]
    assert [state for state in S if S.NOT_AFFECTED in TRANSITIONS[state]] == [S.APPLIED]


def test_a_node_that_was_never_suppressed_cannot_be_ordered_to_erase():
    assert S.APPLYING not in TRANSITIONS[S.PENDING]


def test_a_restored_node_reopens_everything_but_retired():
    for state in set(S) - {S.PENDING, S.RETIRED}:
        assert advance(state, S.PENDING) is S.PENDING
    with pytest.raises(IllegalTransitionError):
        advance(S.RETIRED, S.PENDING)


def test_every_open_state_can_end_as_held_or_retired():
    for state in set(S) - {S.HELD, S.RETIRED}:
        assert {S.HELD, S.RETIRED} <= TRANSITIONS[state]


def test_success_is_terminal_and_retired_is_no_success():
    assert SUCCESS < TERMINAL
    assert {S.RETIRED, S.LOST} == TERMINAL - SUCCESS == EXCEPTED


def test_only_a_node_that_is_waited_for_can_be_lost_and_it_can_come_back():
    assert {state for state in S if S.LOST in TRANSITIONS[state]} == AWAITED
    assert {S.PENDING, S.SUPPRESSED} <= TRANSITIONS[S.LOST]
    assert AWAITED.isdisjoint(TERMINAL)


def test_an_illegal_step_is_a_conflict_for_callers_that_know_no_more():
    assert issubclass(IllegalTransitionError, ConflictError)
