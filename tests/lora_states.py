"""LoRA states with given rows, and rows of LoRA states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LoraShape, LoraState
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import SCALE_BITS
from torch import Tensor


def arrays_with(tags: Sequence[str], rows: Tensor, shape: LoraShape | None = None) -> StateArrays:
    """Return the state in which people have these rows, [K, width], and B is zero."""
    empty = StateArrays.empty(tags, shape or LoraShape(rank=rows.shape[1]))
    codes = (rows.double() * 2.0**SCALE_BITS).round()
    return replace(empty, rows=codes.numpy().astype(np.int16))


def rows_of(state: LoraState) -> Tensor:
    """Return the rows of a state, float64 [K, width]."""
    return torch.from_numpy(StateArrays.decode(state).rows * 2.0**-SCALE_BITS)


def weights_of(state: LoraState) -> list[int]:
    """Return the weights of its rows."""
    return StateArrays.decode(state).row_weights.tolist()
