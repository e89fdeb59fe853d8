from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ArrayRecord
from reram_fleet.crypto.sealing import new_key, seal_symmetric, state_purpose
from reram_fleet.v1.types_pb2 import LoraState

from fleet.learning.errors import StateError
from fleet.learning.state_codec import StateCodec
from tests.unit.learning.loop_grid import JOB, RANK, TAGS, state


def test_a_sealed_state_opens_to_the_same_floats(codec: StateCodec, arrays: ArrayRecord) -> None:
    opened = codec.open(codec.seal(arrays))

    for name in ("numerator", "weight"):
        assert opened[name].numpy().dtype == np.float32
        np.testing.assert_array_equal(opened[name].numpy(), arrays[name].numpy())


def test_the_first_state_of_a_job_tells_its_rows(codec: StateCodec, arrays: ArrayRecord) -> None:
    opened, _ = StateCodec.opening(JOB, codec.key, codec.seal(arrays))

    assert (opened.subject_tags, opened.rank) == (TAGS, RANK)


def test_a_state_without_rows_is_legal() -> None:
    key = new_key()
    empty = seal_symmetric(key, state_purpose(JOB), LoraState(rank=RANK).SerializeToString())

    codec, arrays = StateCodec.opening(JOB, key, empty)

    assert arrays["numerator"].numpy().shape == (0, RANK)
    assert codec.open(codec.seal(arrays))["weight"].numpy().shape == (0,)


def test_a_state_of_another_job_does_not_open(codec: StateCodec, arrays: ArrayRecord) -> None:
    with pytest.raises(StateError, match="job-2"):
        StateCodec.opening("job-2", codec.key, codec.seal(arrays))


def test_a_state_with_too_few_bytes_is_refused(codec: StateCodec) -> None:
    short = LoraState(subject_tags=TAGS, rank=RANK, numerator=bytes(23), weight=bytes(8))
    sealed = seal_symmetric(codec.key, state_purpose(JOB), short.SerializeToString())

    with pytest.raises(StateError, match=r"24 \+ 8 bytes, got 23 \+ 8"):
        codec.open(sealed)


def test_arrays_of_another_shape_are_not_sealed(codec: StateCodec) -> None:
    other = StateCodec(JOB, codec.key, TAGS, RANK + 1)

    with pytest.raises(StateError, match="rows of rank 4"):
        other.seal(state(np.zeros(6), [1, 1]))


def test_rounding_codec_seals_integers_with_weight_one(codec):
    rounding = StateCodec(JOB, codec.key, TAGS, RANK, scale_bits=4)
    values = np.array([[1.0, 0.3, -0.3], [2.0, 5.0, 0.031]], np.float32)
    opened = rounding.open(rounding.seal(state(values, [0.5, 2.0])))
    np.testing.assert_array_equal(
        opened["numerator"].numpy() * 16, [[32, 10, -10], [16, 40, 0]], "halves to even, of B not of B w"
    )
    np.testing.assert_array_equal(opened["weight"].numpy(), [1, 1])


def test_rounding_twice_is_rounding_once(codec):
    rounding = StateCodec(JOB, codec.key, TAGS, RANK, scale_bits=16)
    values = np.random.default_rng(1).normal(size=(2, RANK)).astype(np.float32) * 300
    once = rounding.open(rounding.seal(state(values, [1.0, 3.0])))
    twice = rounding.open(rounding.seal(once))
    np.testing.assert_array_equal(once["numerator"].numpy(), twice["numerator"].numpy())
