import pytest

from fleet.domain.execution import ExecutionState as S
from fleet.domain.waves import most_due


def due(counts, canaries_failed=0, canary_at_work=False):
    return most_due(counts, canaries_failed=canaries_failed, canary_at_work=canary_at_work)


def test_one_canary_goes_first():
    assert due({S.SUPPRESSED: 3}) == 1


def test_nobody_else_is_ordered_while_the_canary_is_at_work():
    assert due({S.APPLYING: 1, S.SUPPRESSED: 2}, canary_at_work=True) == 0
    assert due({S.APPLIED: 1, S.SUPPRESSED: 2}) == 0


@pytest.mark.parametrize("state", [S.VERIFIED, S.NOT_AFFECTED])
def test_all_others_follow_once_the_canary_was_checked(state):
    assert due({state: 1, S.SUPPRESSED: 2}) is None


def test_a_held_canary_is_followed_by_another_since_it_may_have_lied():
    assert due({S.HELD: 1, S.SUPPRESSED: 2}, canaries_failed=1) == 1


def test_two_held_canaries_stop_the_wave():
    assert due({S.HELD: 2, S.SUPPRESSED: 1}, canaries_failed=2) == 0


def test_nodes_held_before_any_order_do_not_stop_the_wave():
    assert due({S.HELD: 5, S.SUPPRESSED: 1}) == 1


def test_a_canary_that_went_away_is_replaced():
    assert due({S.APPLYING: 1, S.SUPPRESSED: 1}) == 1


def test_a_later_failure_does_not_stop_a_wave_whose_canary_was_good():
    assert due({S.VERIFIED: 1, S.HELD: 2, S.SUPPRESSED: 1}, canaries_failed=2) is None


@pytest.mark.parametrize("state", [S.RETIRED, S.LOST])
def test_a_node_that_was_given_up_is_no_canary(state):
    assert due({state: 1, S.SUPPRESSED: 2}) == 1
