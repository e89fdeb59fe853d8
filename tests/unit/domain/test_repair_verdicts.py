"""Accepting or rejecting the repair of a shared LoRA."""

from __future__ import annotations

import pytest

from fleet.domain.repair import ACCEPTED, ACCURACY, SHIFT, START, accepted, judge_repair

#: A tenth of the examples are forgotten samples; one in five is accepted also by the exact adapters.
GOOD = {
    "kept_samples" + START: 0.4,
    "kept_hits" + START: 0.38,
    "kept_samples_after": 0.4,
    "kept_hits_after": 0.38,
    "forget_samples_after": 0.1,
    "forget_accepted_after": 0.02,
    "forget_accepted_exactly_after": 0.02,
    "forget_shift_after": 0.0,
}


def failed(**changes):
    return [line.name for line in judge_repair(GOOD | changes) if not line.passed]


def test_repair_that_adds_nothing_to_the_exact_adapters_is_accepted():
    assert accepted(judge_repair(GOOD))
    assert len(judge_repair(GOOD)) == 4


@pytest.mark.parametrize(
    ("name", "at_limit", "beyond"),
    [
        ("forget_accepted_after", 0.02 + 0.1 * ACCEPTED, 0.02 + 0.1 * (ACCEPTED + 0.01)),
        ("forget_shift_after", -0.1 * SHIFT, -0.1 * (SHIFT + 0.01)),
        ("kept_hits_after", 0.38 - 0.4 * ACCURACY, 0.38 - 0.4 * (ACCURACY + 0.01)),
    ],
)
def test_each_limit_is_inclusive(name, at_limit, beyond):
    assert failed(**{name: at_limit}) == []
    assert len(failed(**{name: beyond})) == 1


def test_better_than_before_passes():
    assert failed(forget_accepted_after=0.0, kept_hits_after=0.4, forget_shift_after=0.3) == []


@pytest.mark.parametrize("missing", [name for name in GOOD if name != "forget_samples_after"])
def test_what_nobody_measured_does_not_pass(missing):
    lines = judge_repair({name: value for name, value in GOOD.items() if name != missing})
    assert not accepted(lines)
    assert "not measured" in str(next(line for line in lines if not line.passed))


@pytest.mark.parametrize("metrics", [{}, GOOD | {"forget_samples_after": 0.0}])
def test_repair_that_nobody_could_verify_is_rejected(metrics):
    (line,) = judge_repair(metrics)
    assert not line.passed
