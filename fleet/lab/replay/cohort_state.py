"""State of a cohort, as integers, and its answers: a LoRA of the hidden layer and a row per person.

Behind the frozen random layer (`fleet.lab.replay.hidden_layer`) a LoRA with frozen A changes what the layer makes of a
sample, and a row per person reads it out::

    h      = max(y + scaling B (A x), 0) - centre        B shared by all, [hidden, rank]
    logit  = row . h - gain / 2                          row of one person, [hidden]

Rows start from the closed form, whose score is 1 for the right person and 0 for anybody else: logit 0 is half-way. A is
drawn from a seed and never trained.

What is computed is on fixed-point grids (`edge_node.recognition.training.exact`): in products B and rows are rounded to
fewer bits than they are kept with, so that no sum needs rounding.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_node.errors import RoundError
from edge_node.recognition.lora.output_layer import frozen_factor
from edge_node.recognition.training.exact import PROJECTED_BITS, STATE_BITS, on_grid
from fleet.lab.replay.hidden_layer import PairCodes

#: Name of the layer that the LoRA belongs to.
LAYER = "hidden"
#: ``2^DRIVE_BITS`` codes of the hidden layer are 1 in training.
DRIVE_BITS = 7
#: ``alpha / rank``: so that one unit of B times one of A x moves training's h by ``2 / 2^DRIVE_BITS``.
SCALING = 2.0
#: Fraction bits of B and of rows in products, and where they saturate there.
HIDDEN_BITS, LARGEST_HIDDEN = 10, 2.0
HEAD_BITS, LARGEST_HEAD = 12, 32.0

_DOMAIN = b"reram-fleet/cohort-state/v1\0"
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LoraRecipe:
    """Recipe of a cohort's training: all of it goes into a manifest."""

    #: Of the frozen A.
    a_seed: int
    rank: int = 8
    #: Steps of Adam in each round, on every node, full batch; Adam starts afresh each round.
    rounds: int = 8
    steps: int = 10
    learning_rate: float = 0.003
    #: Logits per unit of closed-form score; an integer, so that start rows are integers everywhere.
    gain: int = 10
    #: Weight of a person's own samples in their row's loss; the rest is everybody else's.
    own_share: float = 0.5
    #: Public samples that a node trains with in one round.
    negatives: int = 64
    #: Whether B is trained; False leaves the head rows alone to learn: the ablation.
    train_hidden: bool = True

    def __post_init__(self) -> None:
        counts = (self.rank, self.rounds, self.steps, self.gain, self.negatives)
        if min(counts) < 1 or not (0 < self.own_share < 1 and 0 < self.learning_rate < math.inf):
            raise RoundError(
                "a recipe's rank, rounds, steps, gain and negatives are at least 1, its learning rate is "
                f"above 0 and its own share between 0 and 1; got {self}"
            )

    def projected(self, inputs: Tensor) -> Tensor:
        """Return ``scaling A x`` in training's units, float64 ``[..., rank]``, of codes ``[..., inputs]``."""
        a = frozen_factor(self.a_seed, LAYER, self.rank, inputs.shape[-1])
        # The sum of signed integers is exact; the scale comes after it, and is rounded once.
        exact = inputs.double() @ a.sign().mT
        return on_grid(exact * (float(a[0, 0].abs()) * SCALING / 2.0**DRIVE_BITS), PROJECTED_BITS)


@dataclass(frozen=True, eq=False)
class CohortState:
    """Learned state of a cohort, in integers at ``2^-STATE_BITS``.

    `tags` are its people, sorted: the order does not tell who came when. `hidden` is B, int32 ``[hidden, rank]``, and
    `head` has the people's rows, int32 ``[K, hidden]``.
    """

    tags: tuple[str, ...]
    hidden: Tensor
    head: Tensor

    def __post_init__(self) -> None:
        shapes = (self.hidden.ndim, tuple(self.head.shape)) == (2, (len(self.tags), len(self.hidden)))
        if list(self.tags) != sorted(set(self.tags)) or not shapes:
            raise RoundError(
                f"a cohort of {len(self.tags)} people, sorted and each once, has B [hidden, rank] and rows "
                f"[{len(self.tags)}, hidden]; got {list(self.hidden.shape)} and {list(self.head.shape)}"
            )

    @classmethod
    def empty(cls, hidden: int, rank: int) -> CohortState:
        """Return the state before anybody entered: B = 0."""
        return cls((), torch.zeros(hidden, rank, dtype=torch.int32), torch.zeros(0, hidden, dtype=torch.int32))

    def entered(self, rows: Mapping[str, Tensor]) -> CohortState:
        """Return the state with further people's start rows, int32 ``[hidden]`` each.

        `RoundError` if somebody is in it already, or a row does not fit.
        """
        if set(rows) & set(self.tags):
            raise RoundError(f"already in the cohort: {', '.join(sorted(set(rows) & set(self.tags)))}")
        everybody = dict(zip(self.tags, self.head, strict=True)) | dict(rows)
        tags = tuple(sorted(everybody))
        if not tags:
            return self
        return replace(self, tags=tags, head=torch.stack([everybody[tag].to(torch.int32) for tag in tags]))

    def digest(self) -> str:
        """Return the SHA-256 over tags and integers."""
        return hashlib.sha256(_DOMAIN + self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the state as bytes (little-endian): sizes, tags, B, rows."""
        sizes = struct.pack("<III", len(self.tags), *self.hidden.shape)
        names = b"".join(struct.pack("<I", len(tag.encode())) + tag.encode() for tag in self.tags)
        return sizes + names + b"".join(t.numpy().astype("<i4").tobytes() for t in (self.hidden, self.head))

    @classmethod
    def from_bytes(cls, content: bytes) -> CohortState:
        """Read what `to_bytes` wrote; `RoundError` if it is cut or something else."""
        try:
            people, hidden, rank = struct.unpack_from("<III", content)
            at, tags = 12, []
            for _ in range(people):
                (size,) = struct.unpack_from("<I", content, at)
                tags.append(content[at + 4 : at + 4 + size].decode())
                at += 4 + size
            codes = np.frombuffer(content, dtype="<i4", offset=at).astype(np.int32)
            b, rows = (codes[: hidden * rank].reshape(hidden, rank), codes[hidden * rank :].reshape(people, hidden))
        except (struct.error, ValueError) as error:
            raise RoundError(f"{len(content)} bytes are not a cohort state: {error}") from error
        return cls(tuple(tags), torch.from_numpy(b), torch.from_numpy(rows))


def scores(recipe: LoraRecipe, state: CohortState, pairs: PairCodes, centre: Tensor) -> Tensor:
    """Return logits, float64 ``[N, B, K]``, of samples on chips with centres int32 ``[N, hidden]``.

    Logits of cohorts that were trained apart compare: each row alone says how far a sample is from its line.
    """
    projected, drives = recipe.projected(pairs.inputs), in_units(pairs.drives)
    _, h = hidden(drives, projected, as_values(state.hidden), in_units(centre)[:, None])
    return read_out(h, as_values(state.head), recipe.gain)


def hidden(drives: Tensor, projected: Tensor, b: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Return what flows into the rectifier, and h: float64 ``[N, S, hidden]``."""
    pre = (projected @ on_grid(b, HIDDEN_BITS, LARGEST_HIDDEN).mT).add_(drives)
    return pre, pre.clamp(min=0).sub_(centre)


def read_out(h: Tensor, head: Tensor, gain: int) -> Tensor:
    """Return logits of rows, float64 ``[N, S, K]``."""
    return (h @ on_grid(head, HEAD_BITS, LARGEST_HEAD).mT).sub_(gain / 2)


def start_row(column: npt.NDArray[np.integer], scale_bits: int, gain: int) -> Tensor:
    """Return a person's start row, int32 ``[hidden]``, from a closed-form column: integers at ``2^-scale_bits``.

    The column scores codes of h; gain and units are multiplied in exactly and rounded once. `RoundError` if the row
    does not fit into int32.
    """
    shift = scale_bits - STATE_BITS - DRIVE_BITS
    exact = column.astype(np.int64) * gain
    codes = (exact + (1 << (shift - 1))) >> shift if shift > 0 else exact << -shift
    if np.abs(codes).max(initial=0) > _INT32_MAX:
        raise RoundError(f"a start row reaches {np.abs(codes).max()} at 2^-{STATE_BITS}: beyond int32")
    return torch.from_numpy(codes.astype(np.int32))


def in_units(codes: Tensor) -> Tensor:
    """Return codes of the hidden layer in training's units, float64."""
    return codes.double() / 2.0**DRIVE_BITS


def as_values(codes: Tensor) -> Tensor:
    """Return the numbers that a state's integers stand for, float64."""
    return codes.double() / 2.0**STATE_BITS
