"""LoRA state in its two forms: sealed bytes on the way, Flower arrays where it is averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord
from reram_fleet.v1.types_pb2 import LoraState

from fleet.learning.errors import StateError
from fleet.learning.sealed_states import arrays_of, open_state, seal_state, state_of

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
        state = open_state(job_id, key, sealed)
        codec = cls(job_id, key, tuple(state.subject_tags), state.rank, scale_bits)
        return codec, _record(state)

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
        return seal_state(self.job_id, self.key, state_of(self.subject_tags, numerator, weight))

    def open(self, sealed: bytes) -> ArrayRecord:
        """Open a state of this job; `StateError` if it does not open, is malformed, or has other rows than the job.

        Returns numerator float32 [K, rank] and weight float32 [K], finite, every weight above zero.
        """
        state = open_state(self.job_id, self.key, sealed)
        if tuple(state.subject_tags) != self.subject_tags or state.rank != self.rank:
            raise StateError(
                f"job {self.job_id} has {len(self.subject_tags)} rows of rank {self.rank} in a fixed order; "
                f"got {len(state.subject_tags)} rows of rank {state.rank}, or another order"
            )
        arrays = _record(state)
        if any(np.abs(array.numpy()).max(initial=0) >= MAX_VALUE for array in arrays.values()):
            # Alone it would make what is learned by all of them too large to be installed.
            raise StateError(f"a state of job {self.job_id} has a value of {MAX_VALUE} or more")
        return arrays


def _record(state: LoraState) -> ArrayRecord:
    numerator, weight = arrays_of(state)
    return ArrayRecord({NUMERATOR: Array(numerator), WEIGHT: Array(weight)})
