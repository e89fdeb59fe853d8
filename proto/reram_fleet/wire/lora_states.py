"""LoRA states as arrays: what a round of learning starts from, and what a node sends back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reram_fleet.v1.types_pb2 import LoraShape, LoraState
from reram_fleet.wire.shared_lora import MAX_CODE

Int16 = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]
_INT16 = np.dtype("<i2")


class LoraStateError(ValueError):
    """A LoRA state that contradicts itself, or is another's."""


@dataclass(frozen=True, eq=False)
class StateArrays:
    """Codes at ``2^-SCALE_BITS``, and weights: 1 of what was trained or is to be started from, 0 beside codes of 0.

    Attributes
    ----------
    tags
        Whose rows they are, in this order.
    rows
        ``[K, neurons + rank]``.
    row_weights
        ``[K]``.
    branches
        ``[G, neurons, rank]``; G is 0 without neurons.
    branch_weights
        ``[G]``.
    row_branches
        Branch that each row reads, K numbers.
    """

    tags: tuple[str, ...]
    rows: Int16
    row_weights: Bytes
    branches: Int16
    branch_weights: Bytes
    row_branches: tuple[int, ...]

    @classmethod
    def empty(cls, tags: Sequence[str], shape: LoraShape) -> StateArrays:
        """Return the state of people for whom nothing was learnt: zeros of weight 1, with one branch."""
        branches = 1 if shape.neurons else 0
        return cls(
            tuple(tags),
            np.zeros((len(tags), shape.neurons + shape.rank), np.int16),
            np.ones(len(tags), np.uint8),
            np.zeros((branches, shape.neurons, shape.rank), np.int16),
            np.ones(branches, np.uint8),
            (0,) * len(tags),
        )

    @classmethod
    def decode(cls, state: LoraState) -> StateArrays:
        """Take a state from outside.

        `LoraStateError` if sizes do not fit, tags come twice, a row reads no branch, a weight is not 0 or 1, a code of
        weight 0 is not 0, or a code is -2^15.
        """
        tags, branches = tuple(state.subject_tags), len(state.branch_weights)
        rows = np.frombuffer(_sized(state.rows, 2, len(tags), state.neurons + state.rank, "rows"), _INT16)
        values = np.frombuffer(_sized(state.branches, 2 * branches, state.neurons, state.rank, "branches"), _INT16)
        weights = np.frombuffer(_sized(state.row_weights, 1, len(tags), 1, "row weights"), np.uint8)
        branch_weights = np.frombuffer(state.branch_weights, np.uint8)
        found = cls(
            tags,
            rows.reshape(len(tags), state.neurons + state.rank).astype(np.int16),
            weights,
            values.reshape(branches, state.neurons, state.rank).astype(np.int16),
            branch_weights,
            tuple(state.row_branches) or (0,) * len(tags),
        )
        found._check(state.neurons)
        return found

    def encode(self) -> LoraState:
        """Return the state as it travels."""
        return LoraState(
            subject_tags=self.tags,
            rank=self.branches.shape[2],
            neurons=self.branches.shape[1],
            rows=self.rows.astype(_INT16).tobytes(),
            row_weights=self.row_weights.tobytes(),
            branches=self.branches.astype(_INT16).tobytes(),
            branch_weights=self.branch_weights.tobytes(),
            row_branches=self.row_branches if any(self.row_branches) else (),
        )

    def same_form(self, other: StateArrays) -> bool:
        """Whether another state has the same rows in the same order, and the same branches."""
        return (self.tags, self.rows.shape, self.branches.shape, self.row_branches) == (
            other.tags,
            other.rows.shape,
            other.branches.shape,
            other.row_branches,
        )

    def _check(self, neurons: int) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise LoraStateError("a LoRA state names somebody twice")
        if bool(neurons) != bool(len(self.branches)):
            raise LoraStateError(f"a LoRA state of {neurons} neurons has {len(self.branches)} branches")
        known = max(1, len(self.branches))
        if len(self.row_branches) != len(self.tags) or max(self.row_branches, default=0) >= known:
            raise LoraStateError(f"rows of a LoRA state read one of {known} branches each; got {self.row_branches[:9]}")
        for codes, weights in ((self.rows, self.row_weights), (self.branches, self.branch_weights)):
            if (weights > 1).any():
                raise LoraStateError("weights of a LoRA state are 0 or 1")
            if (codes < -MAX_CODE).any():
                raise LoraStateError(f"codes of a LoRA state are within +-{MAX_CODE}")
            if codes[weights == 0].any():
                raise LoraStateError("what has weight 0 in a LoRA state is 0")


def _sized(found: bytes, size: int, rows: int, columns: int, name: str) -> bytes:
    if len(found) != size * rows * columns:
        raise LoraStateError(
            f"the {name} of a LoRA state ({rows} x {columns}) have {size * rows * columns} bytes; got {len(found)}"
        )
    return found
