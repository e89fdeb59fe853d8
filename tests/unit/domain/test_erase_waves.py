import pytest

from fleet.domain.execution import ExecutionState as S
from fleet.domain.waves import WaveMember, due_for_erasure


def suppressed(node_id, *, connected=True):
    return WaveMember(node_id, S.SUPPRESSED, connected)


def test_one_canary_goes_first():
    assert due_for_erasure([suppressed("b"), suppressed("a"), suppressed("c")]) == ("a",)


def test_the_canary_is_a_connected_node():
    assert due_for_erasure([suppressed("a", connected=False), suppressed("b")]) == ("b",)


@pytest.mark.parametrize("state", [S.APPLYING, S.APPLIED])
def test_nobody_else_is_ordered_while_the_canary_is_at_work(state):
    assert due_for_erasure([WaveMember("a", state, True, ordered=True), suppressed("b")]) == ()


@pytest.mark.parametrize("state", [S.VERIFIED, S.NOT_AFFECTED])
def test_all_others_follow_once_the_canary_was_checked(state):
    members = [WaveMember("a", state, True, ordered=True), suppressed("c"), suppressed("b")]
    assert due_for_erasure(members) == ("b", "c")


def test_a_held_canary_is_followed_by_another_since_it_may_have_lied():
    members = [WaveMember("a", S.HELD, True, ordered=True), suppressed("b"), suppressed("c")]
    assert due_for_erasure(members) == ("b",)


def test_two_held_canaries_stop_the_wave():
    members = [WaveMember(name, S.HELD, True, ordered=True) for name in "ab"]
    assert due_for_erasure([*members, suppressed("c")]) == ()


def test_a_node_held_before_any_order_does_not_stop_the_wave():
    assert due_for_erasure([WaveMember("a", S.HELD, True), suppressed("b")]) == ("b",)


def test_a_canary_that_went_away_is_replaced():
    assert due_for_erasure([WaveMember("a", S.APPLYING, False, ordered=True), suppressed("b")]) == ("b",)


def test_a_later_failure_does_not_stop_a_wave_whose_canary_was_good():
    members = [
        WaveMember("a", S.VERIFIED, True, ordered=True),
        WaveMember("b", S.HELD, True, ordered=True),
        suppressed("c"),
    ]
    assert due_for_erasure(members) == ("c",)


def test_pending_nodes_are_never_due():
    assert due_for_erasure([WaveMember("a", S.VERIFIED, True), WaveMember("b", S.PENDING, True)]) == ()


@pytest.mark.parametrize("state", [S.RETIRED, S.LOST])
def test_a_node_that_was_given_up_is_no_canary(state):
    members = [WaveMember("a", state, False, ordered=True), suppressed("b"), suppressed("c")]
    assert due_for_erasure(members) == ("b",)


def test_a_canary_that_was_released_is_ordered_anew_before_the_others():
    assert due_for_erasure([WaveMember("a", S.SUPPRESSED, True, ordered=True), suppressed("b")]) == ("a",)


def test_a_node_that_goes_back_again_and_again_is_the_last_to_be_a_canary():
    members = [WaveMember("a", S.SUPPRESSED, True, went_back=2), suppressed("b")]
    assert due_for_erasure(members) == ("b",)
    assert due_for_erasure(members[:1]) == ("a",)
