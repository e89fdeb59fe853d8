import pytest

from fleet.domain.node import MAX_RETURNS, ContactLimits, may_return

LIMITS = ContactLimits(lost_after_ms=1000, lease_ms=100)


@pytest.mark.parametrize(("now_ms", "over"), [(1000, False), (1001, True)])
def test_a_node_is_given_up_once_it_was_out_of_contact_for_too_long(now_ms, over):
    assert LIMITS.is_over(now_ms, last_contact_ms=0, lease_until_ms=0, returned_at_ms=None) is over


def test_a_node_is_not_given_up_while_an_older_and_longer_lease_lasts():
    assert not LIMITS.is_over(5000, last_contact_ms=0, lease_until_ms=5000, returned_at_ms=None)
    assert LIMITS.is_over(5001, last_contact_ms=0, lease_until_ms=5000, returned_at_ms=None)


@pytest.mark.parametrize(("now_ms", "over"), [(5100, False), (5101, True)])
def test_a_node_that_came_back_is_waited_for_one_lease_long_however_often_it_is_heard_of(now_ms, over):
    heard = {"last_contact_ms": now_ms, "lease_until_ms": now_ms + 100}
    assert LIMITS.is_over(now_ms, **heard, returned_at_ms=5000) is over


def test_a_node_reopens_a_forget_only_so_often():
    assert [may_return(returns) for returns in range(MAX_RETURNS + 1)] == [True] * MAX_RETURNS + [False]
