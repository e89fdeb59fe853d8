from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import wire_enums
from fleet.coordinator.jobs import KINDS, WIRE_KINDS
from fleet.documents import verdict_name
from fleet.domain.learning import JobKind
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState

NEWER = 99


@pytest.mark.parametrize("value", types.ServeState.values())
def test_every_serve_state_has_a_word(value):
    assert wire_enums.wire_serve_state(wire_enums.serve_state(value)) == value


@pytest.mark.parametrize("value", types.QuarantineReason.values())
def test_every_quarantine_reason_has_a_word(value):
    assert wire_enums.wire_quarantine_reason(wire_enums.quarantine_reason(value)) == value


@pytest.mark.parametrize("value", [v for v in types.EnergyPhase.values() if v])
def test_every_energy_phase_has_a_word(value):
    word = wire_enums.phase_name(value)
    assert word is not None
    assert wire_enums.wire_phase(word) == value


def test_the_domain_has_no_word_that_the_wire_does_not_know():
    assert {wire_enums.wire_serve_state(word) for word in ServeState} == set(types.ServeState.values())
    reasons = {wire_enums.wire_quarantine_reason(word) for word in QuarantineReason}
    assert reasons == set(types.QuarantineReason.values())
    assert {wire_enums.wire_phase(word) for word in EnergyPhase} == set(types.EnergyPhase.values()) - {0}


def test_values_of_a_newer_version_are_unspecified_rather_than_an_error():
    assert wire_enums.serve_state(NEWER) is ServeState.UNSPECIFIED
    assert wire_enums.quarantine_reason(NEWER) is QuarantineReason.UNSPECIFIED
    assert wire_enums.phase_name(NEWER) is None
    assert wire_enums.phase_name(types.ENERGY_PHASE_UNSPECIFIED) is None


def test_every_kind_of_learning_job_maps_both_ways():
    assert set(WIRE_KINDS) == set(JobKind)
    assert set(KINDS) == set(types.LearningKind.values()) - {types.LEARNING_KIND_UNSPECIFIED}
    assert all(KINDS[WIRE_KINDS[kind]] is kind for kind in JobKind)


def test_verdicts_are_spelled_as_the_design_does():
    assert verdict_name(operator.VERDICT_CLASS_EXACT) == "EXACT"
    assert verdict_name(operator.VERDICT_CLASS_APPROXIMATE) == "APPROXIMATE"
