"""Judged metrics on faces: a small run says what can be said without statistics."""

from __future__ import annotations

from tests.bench.workloads import judged_metrics


def test_report_is_never_taken_in_by_a_model_that_was_not_touched_or_only_masked():
    said = list(judged_metrics.run(1, nodes=2, forgotten=1, rounds=2))

    verdicts = {one.kind: one.forgotten for one in said if one.metric == judged_metrics.VERDICT}
    assert verdicts.keys() == {*judged_metrics.TRUTHS, judged_metrics.REPAIRED}
    assert not verdicts["untouched"]
    assert not verdicts["masked"]
    strip = {one.kind: one.forgotten for one in said if "strip" in one.metric}
    assert [kind for kind, forgotten in strip.items() if not forgotten] == ["untouched", "masked"]
    assert {one.decides for one in said if one.metric == "relearn index"} == {False}
