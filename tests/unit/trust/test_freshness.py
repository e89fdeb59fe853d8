import pytest
from reram_fleet.v1 import operator_pb2 as operator

from fleet.trust.checks import failures
from fleet.trust.freshness import current_lines
from tests.unit.trust.certified import content


def fleet_now(forget, **changes):
    whole = content(forget)
    fields = {"log_size": whole.tree_size, "log_root": whole.root_hash, **changes}
    return operator.GetFleetResponse(fleet_id="f1", **fields)


def forget_now(state="converged", converged_at_ms=1_500, nodes=1, node_state="verified"):
    """Return what the coordinator says of the certificate's forget, which was committed at 1,000 ms."""
    return operator.Forget(
        state=state,
        created_at_unix_ms=1_000,
        seconds_to_verify=(converged_at_ms - 1_000) / 1000,
        counts=[operator.StateCount(state=node_state, nodes=nodes)],
        examples=[operator.Execution(node_id="n1", state=node_state, updated_at_unix_ms=86_400_000)],
        verdicts=[operator.Verdict(adapter_kind="subject-adapter", verdict=operator.VERDICT_CLASS_EXACT)],
    )


def failed(forget, now, **fleet):
    return {line.name: line.got for line in failures(current_lines(content(forget), fleet_now(forget, **fleet), now))}


def test_a_forget_that_is_as_it_was_is_converged_still(forget):
    assert failed(forget, forget_now()) == {}
    assert failed(forget, forget_now(), log_size=100, log_root=b"grown") == {}


def test_a_forget_that_re_opened_says_so_and_for_whom_it_waits(forget):
    for nodes, names in ((1, "n1 (pending)"), (9, "n1 (pending) and 8 more")):
        (line,) = failed(forget, forget_now("erasing", node_state="pending", nodes=nodes)).items()
        assert line == (
            "now: still converged",
            f"re-opened since: erasing, waiting for {names} since 1970-01-02 00:00:00+00:00",
        )


def test_a_forget_that_re_opened_and_converged_again_wants_another_certificate(forget):
    now = forget_now(converged_at_ms=61_000)
    assert failed(forget, now) == {"now: still converged": "converged at 1970-01-01 00:01:01+00:00"}


@pytest.mark.parametrize("verdict", ["VERDICT_CLASS_APPROXIMATE", "VERDICT_CLASS_NOTHING_HELD"])
def test_another_verdict_than_the_coordinators_fails(forget, verdict):
    now = forget_now()
    now.verdicts[0].verdict = operator.VerdictClass.Value(verdict)
    assert set(failed(forget, now)) == {"now: verdicts"}


def test_other_nodes_than_the_coordinators_fail(forget):
    assert failed(forget, forget_now(nodes=2)) == {"now: nodes": "verified 2"}
    assert failed(forget, forget_now(node_state="not_affected")) == {"now: nodes": "not_affected 1"}


def test_a_forget_that_the_coordinator_has_not_fails(forget):
    assert set(failed(forget, None)) == {"now: forget"}


@pytest.mark.parametrize("log", [{"log_size": 1}, {"log_root": b"other"}])
def test_a_log_that_went_back_or_forked_fails(forget, log):
    assert set(failed(forget, forget_now(), **log)) == {"now: log"}
