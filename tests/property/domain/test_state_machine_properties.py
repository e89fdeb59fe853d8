from hypothesis import given
from hypothesis import strategies as st

from fleet.domain import campaign, execution
from fleet.domain.campaign import CampaignState, campaign_state
from fleet.domain.execution import SUCCESS, TERMINAL, ExecutionState
from fleet.domain.tags import new_id, validate_id
from fleet.domain.waves import most_due

COUNTS = st.dictionaries(st.sampled_from(ExecutionState), st.integers(0, 3))


@given(COUNTS, st.booleans(), st.sampled_from(CampaignState))
def test_the_derived_state_is_always_a_legal_step(counts, pending_connected, current):
    derived = campaign_state(counts, current, pending_connected=pending_connected)
    assert campaign.advance(current, derived) is derived


@given(COUNTS, st.booleans(), st.sampled_from(CampaignState))
def test_converged_means_that_nothing_is_open(counts, pending_connected, current):
    derived = campaign_state(counts, current, pending_connected=pending_connected)
    open_executions = sum(count for state, count in counts.items() if state not in TERMINAL)
    assert (derived is CampaignState.CONVERGED) == (open_executions == 0)


@given(COUNTS, st.booleans(), st.sampled_from(CampaignState))
def test_deriving_twice_changes_nothing(counts, pending_connected, current):
    once = campaign_state(counts, current, pending_connected=pending_connected)
    assert campaign_state(counts, once, pending_connected=pending_connected) is once


@given(st.lists(st.sampled_from(ExecutionState)))
def test_no_walk_reaches_success_without_suppression_and_a_claim(targets):
    state, visited = ExecutionState.PENDING, []
    for target in targets:
        if target in execution.TRANSITIONS[state]:
            state = execution.advance(state, target)
            visited.append(state)
            if state is ExecutionState.PENDING:
                visited.clear()
    if state in SUCCESS:
        assert ExecutionState.APPLIED in visited
        # Out of HELD an operator may go straight to an order.
        assert {ExecutionState.SUPPRESSED, ExecutionState.HELD} & set(visited)


@given(COUNTS, st.integers(0, 3), st.booleans())
def test_before_the_first_success_at_most_one_node_is_due(counts, failed, at_work):
    most = most_due(counts, canaries_failed=failed, canary_at_work=at_work)
    succeeded = any(counts.get(state) for state in SUCCESS)
    assert most is None if succeeded else most <= 1


@given(
    st.integers(0, 2**48 - 2),
    st.integers(1, 1000),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time(now_ms, later_ms, first, second):
    later_ms = min(now_ms + later_ms, 2**48 - 1)
    assert validate_id(new_id(now_ms, lambda _: first)) < validate_id(new_id(later_ms, lambda _: second))
