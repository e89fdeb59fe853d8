"""LoRA state between wire and tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LoraState
from torch import Tensor

from edge_node.errors import RoundError

#: Weight of a row that this node did not train: it goes back as it came and counts only if nobody trained it.
UNTRAINED_WEIGHT = 1e-6


def decode(state: LoraState, tags: Sequence[str], rank: int) -> Tensor:
    """Return B = numerator / weight, float32 [K, rank].

    `RoundError` if tags, rank or lengths are not what the ticket says, a value is not finite or a weight not positive.
    """
    if list(state.subject_tags) != list(tags) or len(set(tags)) != len(tags):
        raise RoundError(f"the LoRA state has {len(state.subject_tags)} rows; the ticket names other tags")
    expected = (4 * len(tags) * rank, 4 * len(tags))
    if state.rank != rank or (len(state.numerator), len(state.weight)) != expected:
        raise RoundError(
            f"the LoRA state has rank {state.rank}, {len(state.numerator)} and {len(state.weight)} bytes; "
            f"expected rank {rank}, {expected[0]} and {expected[1]} bytes"
        )
    numerator = torch.from_numpy(np.frombuffer(state.numerator, dtype="<f4").astype(np.float32))
    weight = torch.from_numpy(np.frombuffer(state.weight, dtype="<f4").astype(np.float32))
    if not bool(torch.isfinite(numerator).all() and torch.isfinite(weight).all() and (weight > 0).all()):
        raise RoundError("the LoRA state has a value that is not finite, or a weight that is not positive")
    return numerator.reshape(len(tags), rank) / weight[:, None]


def encode(tags: Sequence[str], b: Tensor, trained: Tensor) -> LoraState:
    """Return the state of B, float32 [K, rank]; `trained`, bool [K], are rows with weight 1."""
    weight = torch.where(trained, 1.0, UNTRAINED_WEIGHT).to(torch.float32)
    numerator = b.to(torch.float32) * weight[:, None]
    return LoraState(
        subject_tags=tags,
        rank=b.shape[1],
        numerator=numerator.numpy().astype("<f4").tobytes(),
        weight=weight.numpy().astype("<f4").tobytes(),
    )
