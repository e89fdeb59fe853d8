"""LoRA between jobs and revisions: what a job starts from, and what of its state is installed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reram_fleet.code_ranges import LoraStage
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.lora_states import LoraStateError, StateArrays
from reram_fleet.wire.shared_lora import MAX_CODE, RANK, joined, lora_shape, rows_of, shape_defect, without

from fleet.coordinator.learning.lora_state import initial_state, installable
from fleet.learning.errors import StateError

ANN, BOB, CEM = ("a" * 32, "b" * 32, "c" * 32)
SHAPE = lora_shape(features=64, a_seed=7)
STAGED = lora_shape(features=5, a_seed=7, stage=LoraStage(rank=2, neurons=3))


def lora_of(**codes):
    rows = [types.LoraRow(subject_tag=letter * 32, codes=[code] * RANK) for letter, code in codes.items()]
    return types.SharedLora(shape=SHAPE, rows=rows)


def staged_of(branches, **rows):
    """Return a LoRA beside a stage: people's codes and branches, and codes of branches."""
    return types.SharedLora(
        shape=STAGED,
        rows=[types.LoraRow(subject_tag=k * 32, codes=[code] * 5, branch=b) for k, (code, b) in rows.items()],
        branches=[types.LoraBranch(codes=[code] * 6) for code in branches],
    )


def test_job_starts_from_the_rows_there_are_and_from_zeros_for_new_people():
    state = initial_state([BOB, ANN], SHAPE, lora_of(a=3000, c=1))
    assert state.tags == (BOB, ANN)
    assert state.rows.tolist() == [[0] * RANK, [3000] * RANK]
    assert state.row_weights.tolist() == [1, 1]
    assert state.branches.shape == (0, 0, RANK)


def test_job_without_an_earlier_lora_starts_from_zeros():
    assert not initial_state([ANN], SHAPE, None).rows.any()


def test_job_beside_a_stage_starts_from_its_branch():
    state = initial_state([ANN, BOB], STAGED, staged_of([7], a=(4, 0)))
    assert state.branches.tolist() == [[[7, 7]] * 3]
    assert state.rows.tolist() == [[4] * 5, [0] * 5]
    fresh = initial_state([ANN], STAGED, None)
    assert (fresh.branches.shape, fresh.branches.any()) == ((1, 3, 2), False)


def test_what_was_learnt_in_another_form_is_no_start():
    assert not initial_state([ANN], lora_shape(features=64, a_seed=8), lora_of(a=3)).rows.any()
    assert not initial_state([ANN], STAGED, lora_of(a=3)).rows.any()


@pytest.mark.parametrize("lora", [lora_of(a=12_345, b=-7), staged_of([1, 2], a=(1, 0), b=(2, 1), c=(3, 0))])
def test_installing_what_was_installed_changes_nothing(lora):
    tags = [row.subject_tag for row in reversed(lora.rows)]
    assert installable(initial_state(tags, lora.shape, lora), lora.shape) == lora


def test_empty_state_is_an_empty_lora():
    assert not installable(StateArrays.empty([], SHAPE), SHAPE).rows


def test_state_of_another_shape_is_not_installed():
    with pytest.raises(StateError, match="does not have 16 codes"):
        installable(StateArrays.empty([ANN], STAGED), SHAPE)


def test_state_survives_the_way():
    state = initial_state([ANN, BOB], STAGED, staged_of([5, 6], a=(1, 0), b=(2, 1)))
    there = StateArrays.decode(types.LoraState.FromString(state.encode().SerializeToString()))
    assert there.same_form(state)
    assert there.rows.tolist() == state.rows.tolist()
    assert there.branches.tolist() == state.branches.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": bytes(31)}, "bytes; got 31"),
        ({"rows": bytes(34)}, "bytes; got 34"),
        ({"row_weights": b""}, "row weights"),
        ({"row_weights": b"\2"}, "0 or 1"),
        ({"rows": b"\1" + bytes(31), "row_weights": b"\0"}, "weight 0"),
        ({"rows": b"\0\x80" + bytes(30)}, "within"),
        ({"neurons": 1, "rows": bytes(34)}, "0 branches"),
        ({"branch_weights": b"\1"}, "1 branches"),
        ({"row_branches": [1]}, "read one of"),
        ({"subject_tags": [ANN, ANN], "rows": bytes(64), "row_weights": b"\1\1"}, "twice"),
    ],
)
def test_state_that_contradicts_itself_is_refused(change, message):
    state = {"subject_tags": [ANN], "rank": RANK, "rows": bytes(32), "row_weights": b"\1"} | change
    with pytest.raises(LoraStateError, match=message):
        StateArrays.decode(types.LoraState(**state))


def test_largest_code_is_installed():
    state = replace(StateArrays.empty([ANN], SHAPE), rows=np.full((1, RANK), MAX_CODE, np.int16))
    assert set(installable(state, SHAPE).rows[0].codes) == {MAX_CODE}


def test_lora_without_somebody_keeps_everybody_else_as_they_were():
    assert without(lora_of(a=1, b=2, c=3), {BOB}) == lora_of(a=1, c=3)
    assert without(lora_of(a=1), ()) == lora_of(a=1)


def test_branch_that_nobody_reads_goes_with_its_last_reader():
    lora = staged_of([7, 8], a=(1, 0), b=(2, 1), c=(3, 1))
    assert without(lora, {ANN}) == staged_of([8], b=(2, 0), c=(3, 0))
    assert without(lora, {BOB}) == staged_of([7, 8], a=(1, 0), c=(3, 1))
    assert not without(lora, {ANN, BOB, CEM}).branches


def test_joined_parts_are_equal_in_whatever_order_they_come():
    parts = [staged_of([8], b=(2, 0)), staged_of([7], a=(1, 0), c=(3, 0))]
    whole = staged_of([7, 8], a=(1, 0), b=(2, 1), c=(3, 0))
    assert joined(STAGED, parts) == joined(STAGED, reversed(parts)) == whole
    assert rows_of(whole, {BOB}) == parts[0]


@pytest.mark.parametrize(
    ("lora", "defect"),
    [
        (staged_of([1], a=(1, 1)), "read branches"),
        (staged_of([1, 2], a=(1, 0)), "read branches"),
        (staged_of([2**15], a=(1, 0)), "beyond 32767"),
        (types.SharedLora(shape=STAGED, rows=[types.LoraRow(subject_tag=ANN, codes=[1] * 4)]), "5 codes"),
        (types.SharedLora(shape=SHAPE, rows=[*lora_of(a=1).rows, *lora_of(a=2).rows]), "twice"),
    ],
)
def test_lora_whose_parts_do_not_fit_says_why(lora, defect):
    assert defect in shape_defect(lora)
    assert shape_defect(staged_of([1], a=(1, 0))) == shape_defect(lora_of(a=1)) == ""
