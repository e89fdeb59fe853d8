"""LoRA state in its two forms: sealed bytes on the way, Flower arrays where it is averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord
from google.protobuf.message import DecodeError
from reram_fleet.crypto.sealing import SealError, open_symmetric, seal_symmetric, state_purpose
from reram_fleet.v1.types_pb2 import LoraState

from fleet.learning.errors import StateError

# Names of the arrays. Row k of B is numerator[k] / weight[k] (reram_fleet.v1.LoraState).
NUMERATOR = "numerator"
WEIGHT = "weight"
_FLOAT32 = np.dtype("<f4")
#: B is installed as int32 at 2^-16: what a node sends is far below, or learning has diverged on it.
MAX_VALUE = 2.0**14


@dataclass(frozen=True)
class StateCodec:
    """Codec of one job: seals and opens its LoRA states under the job key (32 bytes), bound to its id."""

    job_id: str
    key: bytes = field(repr=False)
    #: Whose rows the state has, in row order; the same in every state of the job.
    subject_tags: tuple[str, ...]
    #: Columns of B.
    rank: int
    #: Not 0: what is sealed is B rounded to integers at 2^-scale_bits, with weights 1, so that going on from it is
    #: going on from integers.
    scale_bits: int = 0

    @classmethod
    def opening(cls, job_id: str, key: bytes, sealed: bytes, scale_bits: int = 0) -> tuple[StateCodec, ArrayRecord]:
        """Open the first state of a job; its tags and rank are what later states must have.

        `StateError` if it does not open under this key for this job, or is malformed.
        """
        state = _unseal(job_id, key, sealed)
        codec = cls(job_id, key, tuple(state.subject_tags), state.rank, scale_bits)
        return codec, codec._arrays(state)

    def seal(self, arrays: ArrayRecord) -> bytes:
        """Seal numerator [K, rank] and weight [K] as float32; `StateError` if their shapes are not those of the job."""
        numerator = arrays[NUMERATOR].numpy().astype(_FLOAT32)
        weight = arrays[WEIGHT].numpy().astype(_FLOAT32)
        rows = len(self.subject_tags)
        if numerator.shape != (rows, self.rank) or weight.shape != (rows,):
            raise StateError(
                f"job {self.job_id} has {rows} rows of rank {self.rank}, "
                f"got numerator {numerator.shape} and weight {weight.shape}"
            )
        if self.scale_bits:
            values = numerator.astype(np.float64) / weight.astype(np.float64)[:, None]
            numerator = (np.rint(values * 2.0**self.scale_bits) * 2.0**-self.scale_bits).astype(_FLOAT32)
            weight = np.ones(rows, _FLOAT32)
        state = LoraState(
            subject_tags=self.subject_tags, rank=self.rank, numerator=numerator.tobytes(), weight=weight.tobytes()
        )
        return seal_symmetric(self.key, state_purpose(self.job_id), state.SerializeToString())

    def open(self, sealed: bytes) -> ArrayRecord:
        """Open a state of this job; `StateError` if it does not open, is malformed, or has other rows than the job.

        Returns numerator float32 [K, rank] and weight float32 [K], finite, every weight above zero.
        """
        state = _unseal(self.job_id, self.key, sealed)
        if tuple(state.subject_tags) != self.subject_tags or state.rank != self.rank:
            raise StateError(
                f"job {self.job_id} has {len(self.subject_tags)} rows of rank {self.rank} in a fixed order; "
                f"got {len(state.subject_tags)} rows of rank {state.rank}, or another order"
            )
        arrays = self._arrays(state)
        if any(np.abs(array.numpy()).max(initial=0) >= MAX_VALUE for array in arrays.values()):
            # Alone it would make what is learned by all of them too large to be installed.
            raise StateError(f"a state of job {self.job_id} has a value of {MAX_VALUE} or more")
        return arrays

    def _arrays(self, state: LoraState) -> ArrayRecord:
        rows = len(self.subject_tags)
        expected = (4 * rows * self.rank, 4 * rows)
        if (len(state.numerator), len(state.weight)) != expected:
            raise StateError(
                f"a state of {rows} rows of rank {self.rank} has {expected[0]} + {expected[1]} bytes, "
                f"got {len(state.numerator)} + {len(state.weight)}"
            )
        numerator = np.frombuffer(state.numerator, dtype=_FLOAT32).reshape(rows, self.rank)
        weight = np.frombuffer(state.weight, dtype=_FLOAT32)
        # One such value would spread to every node with the next average.
        if not (np.isfinite(numerator).all() and np.isfinite(weight).all() and (weight > 0).all()):
            raise StateError(f"a state of job {self.job_id} has a value that is not finite or a weight <= 0")
        return ArrayRecord({NUMERATOR: Array(numerator), WEIGHT: Array(weight)})


def _unseal(job_id: str, key: bytes, sealed: bytes) -> LoraState:
    state = LoraState()
    try:
        state.ParseFromString(open_symmetric(key, state_purpose(job_id), sealed))
    except (SealError, DecodeError) as error:
        raise StateError(f"a state of job {job_id} ({len(sealed)} bytes) does not open: {error}") from error
    return state
