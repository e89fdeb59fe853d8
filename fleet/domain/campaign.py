"""One forget, fleet-wide: its state follows from the states of its executions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fleet.domain.execution import TERMINAL, ExecutionState
from fleet.domain.transitions import check_step


class CampaignState(StrEnum):
    """Progress of the fleet with one forget. There is no way to cancel or to expire."""

    #: In the log, with an execution per node.
    COMMITTED = "committed"
    #: Some connected node has not reported the generation yet.
    SUPPRESSING = "suppressing"
    #: Every connected node masks the subject; erasing goes on, in waves.
    ERASING = "erasing"
    #: Every execution is VERIFIED, NOT_AFFECTED, RETIRED or LOST; without the last two, which are named.
    CONVERGED = "converged"


_S = CampaignState

#: Legal steps. States may be skipped (a fleet without nodes converges at once).
TRANSITIONS: Mapping[CampaignState, frozenset[CampaignState]] = {
    _S.COMMITTED: frozenset({_S.SUPPRESSING, _S.ERASING, _S.CONVERGED}),
    _S.SUPPRESSING: frozenset({_S.ERASING, _S.CONVERGED}),
    _S.ERASING: frozenset({_S.CONVERGED}),
    # A late or restored node re-opens the campaign, and one that was lost and comes back.
    _S.CONVERGED: frozenset({_S.ERASING}),
}


def advance(current: CampaignState, target: CampaignState) -> CampaignState:
    """Return `target` if the step is legal or no step at all; else raises `IllegalTransitionError`."""
    return target if target == current else check_step("a campaign", TRANSITIONS, current, target)


def campaign_state(
    counts: Mapping[ExecutionState, int],
    current: CampaignState = CampaignState.COMMITTED,
    *,
    pending_connected: bool = False,
) -> CampaignState:
    """Derive the state that a campaign is in; always a legal step from `current`.

    Parameters
    ----------
    counts
        How many executions are in each state; every node of the fleet has one.
    current
        State so far. Suppressing is not entered again: a node that connects late is merely behind.
    pending_connected
        Whether a node that is PENDING has a live stream. Only such a node can keep a campaign in SUPPRESSING: one that
        is away loses its lease and fails closed by itself.
    """
    executions, pending = sum(counts.values()), counts.get(ExecutionState.PENDING, 0)
    if sum(counts.get(state, 0) for state in TERMINAL) == executions:
        return CampaignState.CONVERGED
    if current in (CampaignState.ERASING, CampaignState.CONVERGED):
        return CampaignState.ERASING
    # With nobody connected, "all connected nodes" says nothing: at least one node must have reported.
    if pending == executions or (pending and pending_connected):
        return CampaignState.SUPPRESSING
    return CampaignState.ERASING
