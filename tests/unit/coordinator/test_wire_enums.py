from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.wire_enums import ENERGY_PHASE, LEARNING_KIND, QUARANTINE_REASON, SERVE_STATE
from fleet.documents import verdict_name
from fleet.domain.learning import JobKind
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState

UNSPECIFIED = {0}


@pytest.mark.parametrize(
    ("enum", "wire", "words", "without"),
    [
        pytest.param(SERVE_STATE, types.ServeState, ServeState, set(), id="serve states"),
        pytest.param(QUARANTINE_REASON, types.QuarantineReason, QuarantineReason, set(), id="quarantine reasons"),
        pytest.param(ENERGY_PHASE, types.EnergyPhase, EnergyPhase, UNSPECIFIED, id="energy phases"),
        pytest.param(LEARNING_KIND, types.LearningKind, JobKind, UNSPECIFIED, id="kinds of learning jobs"),
    ],
)
def test_every_value_of_the_wire_has_a_word_and_every_word_its_value(enum, wire, words, without):
    assert set(enum.words) == set(wire.values()) - without
    assert set(enum.values) == set(words)
    assert all(enum.words[enum.values[word]] is word for word in words)


def test_verdicts_are_spelled_as_the_design_does():
    assert verdict_name(operator.VERDICT_CLASS_EXACT) == "EXACT"
    assert verdict_name(operator.VERDICT_CLASS_APPROXIMATE) == "APPROXIMATE"
