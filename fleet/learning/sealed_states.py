"""LoRA states under the key of their job, and their arrays; without Flower, since the coordinator reads them too."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from reram_fleet.crypto.sealing import SealError, open_symmetric, seal_symmetric, state_purpose
from reram_fleet.v1.types_pb2 import LoraState

from fleet.learning.errors import StateError

Float32 = npt.NDArray[np.float32]
_FLOAT32 = np.dtype("<f4")


def seal_state(job_id: str, key: bytes, state: LoraState, draw: Callable[[int], bytes] = os.urandom) -> bytes:
    """Encrypt a state under the key of its job."""
    return seal_symmetric(key, state_purpose(job_id), state.SerializeToString(deterministic=True), draw)


def open_state(job_id: str, key: bytes, sealed: bytes) -> LoraState:
    """Decrypt a state; raises `StateError` if it does not open under this key for this job, or is malformed."""
    try:
        return LoraState.FromString(open_symmetric(key, state_purpose(job_id), sealed))
    except (SealError, DecodeError) as error:
        raise StateError(f"a state of job {job_id} ({len(sealed)} bytes) does not open: {error}") from error


def state_of(tags: Sequence[str], numerator: npt.NDArray[np.floating], weight: npt.NDArray[np.floating]) -> LoraState:
    """Return the state of arrays numerator [tags, rank] and weight [tags]: row k of B is numerator[k] / weight[k]."""
    return LoraState(
        subject_tags=tags,
        rank=numerator.shape[1],
        numerator=numerator.astype(_FLOAT32).tobytes(),
        weight=weight.astype(_FLOAT32).tobytes(),
    )


def arrays_of(state: LoraState) -> tuple[Float32, Float32]:
    """Return numerator float32 [tags, rank] and weight float32 [tags] of a state, finite, every weight above zero.

    Raises `StateError` if sizes do not fit, a weight is not positive, or a value is not finite: one such value would
    spread to every node with the next average.
    """
    rows = len(state.subject_tags)
    expected = (4 * rows * state.rank, 4 * rows)
    if (len(state.numerator), len(state.weight)) != expected:
        raise StateError(
            f"a state of {rows} rows of rank {state.rank} has {expected[0]} + {expected[1]} bytes, "
            f"got {len(state.numerator)} + {len(state.weight)}"
        )
    numerator = np.frombuffer(state.numerator, _FLOAT32).reshape(rows, state.rank)
    weight = np.frombuffer(state.weight, _FLOAT32)
    if not (np.isfinite(numerator).all() and np.isfinite(weight).all() and (weight > 0).all()):
        raise StateError("a state has values that are not finite, or weights that are not positive")
    return numerator, weight
