from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import words
from fleet.coordinator.jobs import KINDS, WIRE_KINDS
from fleet.documents import verdict_name
from fleet.domain.learning import JobKind
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState

NEWER = 99


@pytest.mark.parametrize("value", types.ServeState.values())
def test_every_serve_state_has_a_word(value):
    assert words.wire_serve_state(words.serve_state(value)) == value


@pytest.mark.parametrize("value", types.QuarantineReason.values())
def test_every_quarantine_reason_has_a_word(value):
    assert words.wire_quarantine_reason(words.quarantine_reason(value)) == value


@pytest.mark.parametrize("value", [v for v in types.EnergyPhase.values() if v])
def test_every_energy_phase_has_a_word(value):
    word = words.phase_name(value)
    assert word is not None
    assert words.wire_phase(word) == value


def test_the_domain_has_no_word_that_the_wire_does_not_know():
    assert {words.wire_serve_state(word) for word in ServeState} == set(types.ServeState.values())
    reasons = {words.wire_quarantine_reason(word) for word in QuarantineReason}
    assert reasons == set(types.QuarantineReason.values())
    assert {words.wire_phase(word) for word in EnergyPhase} == set(types.EnergyPhase.values()) - {0}


def test_values_of_a_newer_version_are_unspecified_rather_than_an_error():
    assert words.serve_state(NEWER) is ServeState.UNSPECIFIED
    assert words.quarantine_reason(NEWER) is QuarantineReason.UNSPECIFIED
    assert words.phase_name(NEWER) is None
    assert words.phase_name(types.ENERGY_PHASE_UNSPECIFIED) is None


def test_every_kind_of_learning_job_maps_both_ways():
    assert set(WIRE_KINDS) == set(JobKind)
    assert set(KINDS) == set(types.LearningKind.values()) - {types.LEARNING_KIND_UNSPECIFIED}
    assert all(KINDS[WIRE_KINDS[kind]] is kind for kind in JobKind)


def test_verdicts_are_spelled_as_the_design_does():
    assert verdict_name(operator.VERDICT_CLASS_EXACT) == "EXACT"
    assert verdict_name(operator.VERDICT_CLASS_APPROXIMATE) == "APPROXIMATE"
