from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from reram_fleet.crypto.sealing import new_key, seal_symmetric, state_purpose
from reram_fleet.v1.types_pb2 import LoraShape, LoraState
from reram_fleet.wire.lora_states import StateArrays

from fleet.learning.errors import StateError
from fleet.learning.sealed_states import open_state, seal_state
from fleet.learning.state_codec import StateCodec, record_of
from tests.unit.learning.loop_grid import JOB, RANK, TAGS, state

STAGED = LoraShape(rank=RANK, neurons=2)


def plain_average(messages: list[tuple[StateArrays, int]]) -> ArrayRecord:
    """Average in the order given, as FedAvg does."""
    total = float(sum(examples for _, examples in messages))
    sums: dict[str, np.ndarray] = {}
    for message, examples in messages:
        for name, array in record_of(message).items():
            share = array.numpy() * (examples / total)
            sums[name] = sums[name] + share if name in sums else share
    return ArrayRecord({name: Array(values) for name, values in sums.items()})


def test_a_sealed_state_opens_to_the_same_integers(codec: StateCodec) -> None:
    opened = codec.open(codec.seal(state(np.arange(6) - 3)))

    assert opened["rows"].numpy().tolist() == [[-3, -2, -1], [0, 1, 2]]
    assert opened["row-weights"].numpy().tolist() == [1, 1]


def test_the_first_state_of_a_job_tells_its_form(codec: StateCodec) -> None:
    opened = StateCodec.opening(JOB, codec.key, codec.seal(codec.first))

    assert opened.first.same_form(codec.first)


def test_a_state_without_rows_is_legal() -> None:
    key = new_key()
    codec = StateCodec.opening(JOB, key, seal_state(JOB, key, StateArrays.empty((), LoraShape(rank=RANK))))

    assert codec.open(codec.seal(codec.first))["rows"].numpy().shape == (0, RANK)


def test_a_state_of_another_job_does_not_open(codec: StateCodec) -> None:
    with pytest.raises(StateError, match="job-2"):
        StateCodec.opening("job-2", codec.key, codec.seal(codec.first))


def test_a_state_with_too_few_bytes_is_refused(codec: StateCodec) -> None:
    short = LoraState(subject_tags=TAGS, rank=RANK, rows=bytes(11), row_weights=bytes(2))
    sealed = seal_symmetric(codec.key, state_purpose(JOB), short.SerializeToString())

    with pytest.raises(StateError, match="12 bytes; got 11"):
        codec.open(sealed)


@pytest.mark.parametrize(
    "other",
    [
        StateArrays.empty(TAGS[::-1], LoraShape(rank=RANK)),
        StateArrays.empty(TAGS, LoraShape(rank=RANK + 1)),
        StateArrays.empty(TAGS, STAGED),
    ],
)
def test_states_of_another_form_are_refused(codec: StateCodec, other: StateArrays) -> None:
    with pytest.raises(StateError, match="another order"):
        codec.open(codec.seal(other))


def test_mean_is_over_the_nodes_that_trained_a_row_and_is_rounded_half_to_even(codec: StateCodec) -> None:
    before = state([1, 2, 3, 40, 50, 60])
    messages = [(state([10, 20, 31, 0, 0, 0], [1, 0]), 1), (state([13, 20, 32, 0, 0, 0], [1, 0]), 1)]

    after = codec.averaged(before, plain_average(messages), 2, 2)

    assert after.rows.tolist() == [[12, 20, 32], [40, 50, 60]]
    assert after.row_weights.tolist() == [1, 1]


def test_mean_is_the_same_integers_in_any_order_of_messages() -> None:
    rng = np.random.default_rng(1)
    first = StateArrays.empty(TAGS, STAGED)
    codec, messages = StateCodec(JOB, new_key(), first), []
    for _ in range(200):
        known = rng.integers(0, 2, len(TAGS), np.uint8)
        rows = rng.integers(-32767, 32768, first.rows.shape).astype(np.int16) * known[:, None]
        b = rng.integers(-32767, 32768, first.branches.shape).astype(np.int16) * known.any()
        shared = np.full(1, known.any(), np.uint8)
        message = replace(first, rows=rows.astype(np.int16), row_weights=known, branches=b, branch_weights=shared)
        messages.append((message, int(rng.integers(1, 4000))))
    total = sum(examples for _, examples in messages)

    after = [
        codec.averaged(first, plain_average([messages[k] for k in order]), total, len(messages))
        for order in (range(200), range(199, -1, -1), rng.permutation(200))
    ]

    # By integers that have no limit.
    wanted = [[0] * first.rows.shape[1] for _ in TAGS]
    for k in range(len(TAGS)):
        weight = sum(examples * int(m.row_weights[k]) for m, examples in messages)
        for j in range(first.rows.shape[1]):
            wanted[k][j] = _half_even(sum(examples * int(m.rows[k, j]) for m, examples in messages), weight)
    assert after[0].rows.tolist() == wanted
    assert after[0].branches.any()
    for other in after[1:]:
        assert np.array_equal(other.rows, after[0].rows)
        assert np.array_equal(other.branches, after[0].branches)


def _half_even(numerator: int, divisor: int) -> int:
    whole, rest = divmod(numerator, divisor)
    return whole + int(2 * rest > divisor or (2 * rest == divisor and whole % 2 == 1))


def test_averages_that_cannot_be_exact_are_refused(codec: StateCodec, arrays: ArrayRecord) -> None:
    with pytest.raises(StateError, match="too many"):
        codec.averaged(codec.first, arrays, 2**40, 2)
    broken = ArrayRecord({**arrays, "rows": Array(np.full((len(TAGS), RANK), np.nan))})
    with pytest.raises(StateError, match="not finite"):
        codec.averaged(codec.first, broken, 2, 2)
    short = ArrayRecord({**arrays, "rows": Array(np.zeros((len(TAGS), RANK - 1)))})
    with pytest.raises(StateError, match="got"):
        codec.averaged(codec.first, short, 2, 2)


def test_what_is_sealed_opens_as_arrays(codec: StateCodec) -> None:
    assert open_state(JOB, codec.key, codec.seal(codec.first)).rows.tolist() == codec.first.rows.tolist()
