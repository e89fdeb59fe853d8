from __future__ import annotations

import math

import numpy as np
import pytest
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.shared_lora import RANK, SCALE_BITS, lora_shape

from fleet.coordinator.learning.lora_state import (
    factor_of,
    initial_state,
    quantise,
    without,
)
from fleet.learning.errors import StateError

ANN, BOB, CEM = ("a" * 32, "b" * 32, "c" * 32)
SHAPE = lora_shape(features=64, a_seed=7)


def state_of(tags, numerator, weight):
    return types.LoraState(
        subject_tags=tags,
        rank=RANK,
        numerator=np.asarray(numerator, "<f4").tobytes(),
        weight=np.asarray(weight, "<f4").tobytes(),
    )


def lora_of(**codes):
    rows = [types.LoraRow(subject_tag=letter * 32, codes=[code] * RANK) for letter, code in codes.items()]
    return types.SharedLora(shape=SHAPE, rows=rows)


def test_job_starts_from_the_rows_there_are_and_from_zeros_for_new_people():
    state = initial_state([BOB, ANN], SHAPE, lora_of(a=3 << SCALE_BITS, c=1))
    assert list(state.subject_tags) == [BOB, ANN]
    assert state.rank == RANK
    assert factor_of(state).tolist() == [[0.0] * RANK, [3.0] * RANK]
    assert np.frombuffer(state.weight, "<f4").tolist() == [1.0, 1.0]


def test_job_without_an_earlier_lora_starts_from_zeros():
    assert not factor_of(initial_state([ANN], SHAPE, None)).any()


def test_row_of_b_is_numerator_over_weight():
    state = state_of([ANN, BOB], [[6.0] * RANK, [1e-6] * RANK], [2.0, 1e-6])
    np.testing.assert_allclose(factor_of(state), [[3.0] * RANK, [1.0] * RANK], rtol=1e-6)


def test_quantised_rows_are_sorted_by_tag_and_round_to_the_nearest_step():
    step = 2.0**-SCALE_BITS
    state = state_of([CEM, ANN], [[2.4 * step] * RANK, [-2.6 * step] * RANK], [1.0, 1.0])
    lora = quantise(state, SHAPE)
    assert [row.subject_tag for row in lora.rows] == [ANN, CEM]
    assert [set(row.codes) for row in lora.rows] == [{-3}, {2}]
    assert lora.shape == SHAPE


def test_quantising_installed_rows_again_changes_nothing():
    lora = lora_of(a=123_456, b=-7)
    assert quantise(initial_state([ANN, BOB], SHAPE, lora), SHAPE) == lora


def test_empty_state_is_an_empty_lora():
    assert not quantise(state_of([], [], []), SHAPE).rows


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_state_that_is_not_finite_is_refused(bad):
    with pytest.raises(StateError, match="not finite"):
        quantise(state_of([ANN], [bad] + [0.0] * (RANK - 1), [1.0]), SHAPE)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_weight_that_is_not_positive_is_refused(weight):
    with pytest.raises(StateError, match="not positive"):
        factor_of(state_of([ANN], [0.0] * RANK, [weight]))


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        pytest.param(RANK - 1, 1, id="a value is missing"),
        pytest.param(RANK + 1, 1, id="a value too many"),
        pytest.param(RANK, 2, id="a weight too many"),
        pytest.param(0, 0, id="nothing at all"),
    ],
)
def test_state_whose_arrays_do_not_fit_its_tags_is_refused(values, weights):
    with pytest.raises(StateError, match="a state of 1 rows"):
        factor_of(state_of([ANN], [0.0] * values, [1.0] * weights))


def test_state_cut_off_in_the_middle_of_a_number_is_refused():
    state = state_of([ANN], [0.0] * RANK, [1.0])
    state.numerator = state.numerator[:-1]
    with pytest.raises(StateError, match=r"64 \+ 4 bytes, got 63 \+ 4"):
        factor_of(state)


def test_weight_beyond_int32_is_refused_rather_than_wrapped_around():
    largest = 2.0 ** (31 - SCALE_BITS)
    assert quantise(state_of([ANN], [largest * 0.999] * RANK, [1.0]), SHAPE).rows[0].codes[0] < 2**31
    with pytest.raises(StateError, match="exceeds int32"):
        quantise(state_of([ANN], [largest] * RANK, [1.0]), SHAPE)


def test_lora_without_somebody_keeps_everybody_else_as_they_were():
    assert without(lora_of(a=1, b=2, c=3), {BOB}) == lora_of(a=1, c=3)
    assert without(lora_of(a=1), ()) == lora_of(a=1)
