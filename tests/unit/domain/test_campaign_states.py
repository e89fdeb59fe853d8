from collections import Counter

import pytest

from fleet.domain.campaign import CampaignState as C
from fleet.domain.campaign import advance, campaign_state
from fleet.domain.execution import ExecutionState as S
from fleet.errors import IllegalTransitionError


def test_a_connected_node_that_has_not_reported_keeps_the_campaign_suppressing():
    assert campaign_state({S.SUPPRESSED: 1, S.PENDING: 1}, pending_connected=True) is C.SUPPRESSING


def test_a_node_that_is_away_does_not_keep_others_from_erasing():
    assert campaign_state({S.SUPPRESSED: 1, S.PENDING: 1}) is C.ERASING


def test_with_nobody_connected_and_nobody_reported_it_is_suppressing():
    assert campaign_state({S.PENDING: 2}) is C.SUPPRESSING


def test_a_late_node_does_not_throw_an_erasing_campaign_back():
    assert campaign_state({S.VERIFIED: 1, S.PENDING: 1}, C.ERASING, pending_connected=True) is C.ERASING


@pytest.mark.parametrize("last", [S.VERIFIED, S.NOT_AFFECTED, S.RETIRED, S.LOST])
def test_it_converges_when_the_last_node_is_settled(last):
    assert campaign_state(Counter([S.VERIFIED, last]), C.ERASING) is C.CONVERGED


@pytest.mark.parametrize("open_state", [S.PENDING, S.SUPPRESSED, S.APPLYING, S.APPLIED, S.HELD])
def test_one_open_node_keeps_it_from_converging(open_state):
    assert campaign_state({S.VERIFIED: 1, open_state: 1}, C.ERASING) is C.ERASING


def test_a_restored_node_reopens_a_converged_campaign():
    assert campaign_state({S.VERIFIED: 1, S.PENDING: 1}, C.CONVERGED, pending_connected=True) is C.ERASING


@pytest.mark.parametrize("back", [S.PENDING, S.SUPPRESSED])
def test_a_lost_node_that_comes_back_reopens_a_converged_campaign(back):
    assert campaign_state({S.VERIFIED: 1, back: 1}, C.CONVERGED) is C.ERASING


def test_a_fleet_without_nodes_converges_at_once():
    assert campaign_state({}) is C.CONVERGED


@pytest.mark.parametrize(
    ("current", "target"), [(C.ERASING, C.SUPPRESSING), (C.CONVERGED, C.SUPPRESSING), (C.SUPPRESSING, C.COMMITTED)]
)
def test_steps_back_raise(current, target):
    with pytest.raises(IllegalTransitionError, match=f"from {current} to {target}"):
        advance(current, target)
