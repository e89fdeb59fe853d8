from hypothesis import given
from hypothesis import strategies as st

from fleet.domain import campaign, execution
from fleet.domain.campaign import CampaignState, campaign_state
from fleet.domain.execution import SUCCESS, TERMINAL, ExecutionState
from fleet.domain.tags import new_id, validate_id
from fleet.domain.waves import WaveMember, due_for_erasure

NODES = st.sampled_from("abcdef")
EXECUTIONS = st.dictionaries(NODES, st.sampled_from(ExecutionState))
MEMBERS = st.lists(
    st.builds(WaveMember, NODES, st.sampled_from(ExecutionState), st.booleans(), st.booleans()),
    unique_by=lambda member: member.node_id,
)


@given(EXECUTIONS, st.sets(NODES), st.sampled_from(CampaignState))
def test_the_derived_state_is_always_a_legal_step(executions, connected, current):
    derived = campaign_state(executions, connected, current)
    assert campaign.advance(current, derived) is derived


@given(EXECUTIONS, st.sets(NODES), st.sampled_from(CampaignState))
def test_converged_means_that_nothing_is_open(executions, connected, current):
    converged = campaign_state(executions, connected, current) is CampaignState.CONVERGED
    assert converged == (set(executions.values()) <= TERMINAL)


@given(EXECUTIONS, st.sets(NODES), st.sampled_from(CampaignState))
def test_deriving_twice_changes_nothing(executions, connected, current):
    once = campaign_state(executions, connected, current)
    assert campaign_state(executions, connected, once) is once


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


@given(MEMBERS)
def test_only_connected_suppressed_nodes_are_ever_due(members):
    by_id = {member.node_id: member for member in members}
    for node_id in due_for_erasure(members):
        assert by_id[node_id].connected
        assert by_id[node_id].state is ExecutionState.SUPPRESSED


@given(MEMBERS)
def test_before_the_first_success_at_most_one_node_is_due(members):
    if not any(member.state in SUCCESS for member in members):
        assert len(due_for_erasure(members)) <= 1


@given(MEMBERS, st.randoms())
def test_waves_do_not_depend_on_the_order_of_nodes(members, random):
    shuffled = list(members)
    random.shuffle(shuffled)
    assert due_for_erasure(shuffled) == due_for_erasure(members)


@given(
    st.integers(0, 2**48 - 2),
    st.integers(1, 1000),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time(now_ms, later_ms, first, second):
    later_ms = min(now_ms + later_ms, 2**48 - 1)
    assert validate_id(new_id(now_ms, lambda _: first)) < validate_id(new_id(later_ms, lambda _: second))
