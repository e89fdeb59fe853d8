"""LoRA state in its two forms: sealed bytes on the way, Flower arrays where it is averaged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import MAX_CODE

from fleet.learning.errors import StateError
from fleet.learning.sealed_states import open_state, seal_state

#: Names of the arrays by what they are of, codes and weights, in the order of `StateArrays`.
ROWS, ROW_WEIGHTS = "rows", "row-weights"
BRANCHES, BRANCH_WEIGHTS = "branches", "branch-weights"

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StateCodec:
    """Codec of one job: seals and opens its LoRA states under the job key (32 bytes), bound to its id.

    In arrays codes and weights are float64: integers until a strategy has averaged them.

    Attributes
    ----------
    first
        State that the job goes on from; all its states have the same rows and branches.
    """

    job_id: str
    key: bytes = field(repr=False)
    first: StateArrays

    @classmethod
    def opening(cls, job_id: str, key: bytes, sealed: bytes) -> StateCodec:
        """Open the first state of a job.

        `StateError` if it does not open under this key for this job, or is malformed.
        """
        return cls(job_id, key, open_state(job_id, key, sealed))

    def seal(self, state: StateArrays) -> bytes:
        """Seal a state of this job."""
        return seal_state(self.job_id, self.key, state)

    def open(self, sealed: bytes) -> ArrayRecord:
        """Open what a node sends; `StateError` if it does not open, is malformed, or is not of this job's form."""
        state = open_state(self.job_id, self.key, sealed)
        if not state.same_form(self.first):
            raise StateError(
                f"job {self.job_id} has {len(self.first.tags)} rows and {len(self.first.branches)} branches in a fixed "
                f"order; got {len(state.tags)} rows and {len(state.branches)} branches, or another order"
            )
        return record_of(state)

    def averaged(self, before: StateArrays, average: ArrayRecord, examples: int, nodes: int) -> StateArrays:
        """Return the state after a round: the mean over the nodes that trained it, of each row and each branch.

        What a strategy makes of integers, weighted by numbers of examples, is nearly an integer sum divided by all
        examples. So the sums are had back exactly, in whatever order messages came, and are divided once, half to even.
        What nobody trained stays as it was.

        Parameters
        ----------
        before
            State that the nodes started from.
        average
            Of their arrays.
        examples
            Of all of them.
        nodes
            How many they are.

        Raises
        ------
        StateError
            If arrays are not of this job's form or not finite, or examples too many for their sums to be exact.
        """
        # A strategy rounds N + 2 times on the way to a sum: all of it must stay below half a unit.
        if not MAX_CODE * examples * (nodes + 3) < 2**52:
            raise StateError(f"{examples} examples of {nodes} nodes are too many to be averaged exactly")
        rows = self._mean(before.rows, average, (ROWS, ROW_WEIGHTS), examples)
        branches = self._mean(before.branches, average, (BRANCHES, BRANCH_WEIGHTS), examples)
        return replace(before, rows=rows, branches=branches)

    def _mean(
        self, before: npt.NDArray[np.int16], average: ArrayRecord, names: tuple[str, str], examples: int
    ) -> npt.NDArray[np.int16]:
        codes, weights = (average[name].numpy().astype(np.float64) for name in names)
        if codes.shape != before.shape or weights.shape != before.shape[:1]:
            raise StateError(
                f"job {self.job_id} has {names[0]} {list(before.shape)}; got {list(codes.shape)} and weights "
                f"{list(weights.shape)}"
            )
        sums, total = (values * examples for values in (codes, weights))
        if not all(np.isfinite(v).all() and np.abs(v).max(initial=0) <= MAX_CODE * examples for v in (sums, total)):
            raise StateError(f"{names[0]} of job {self.job_id} are not finite, or larger than what was averaged")
        counts = np.rint(total).astype(np.int64).reshape(-1, *[1] * (codes.ndim - 1))
        means = _quotient(np.rint(sums).astype(np.int64), np.maximum(counts, 1))
        kept: npt.NDArray[np.int16] = np.where(counts > 0, means, before).astype(np.int16)
        return kept


def record_of(state: StateArrays) -> ArrayRecord:
    """Return the arrays of a state."""
    arrays: dict[str, npt.NDArray[np.int16] | npt.NDArray[np.uint8]] = {
        ROWS: state.rows,
        ROW_WEIGHTS: state.row_weights,
        BRANCHES: state.branches,
        BRANCH_WEIGHTS: state.branch_weights,
    }
    return ArrayRecord({name: Array(values.astype(np.float64)) for name, values in arrays.items()})


def _quotient(numerator: Integers, divisor: Integers) -> Integers:
    """Divide integers, half to even."""
    whole, rest = np.divmod(numerator, divisor)
    up = (2 * rest > divisor) | ((2 * rest == divisor) & (whole % 2 == 1))
    quotient: Integers = whole + up
    return quotient
