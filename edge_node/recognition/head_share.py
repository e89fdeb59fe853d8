"""Share of a node in the closed-form head: integer sums over captured codes, packed for the wire."""

from __future__ import annotations

import torch
from reram_fleet.wire.head_statistics import pack
from torch import Tensor

from edge_node.errors import AdapterError
from hwmodel import Cost, Preset, cost

#: Integers up to here are exact in float32 and float64.
_FLOAT32_LIMIT, _FLOAT64_LIMIT = 1 << 24, 1 << 53


def packed_statistics(codes: Tensor) -> bytes:
    """Return the packed statistics of codes, int32 [samples, features]: one person's, or a node's together.

    `AdapterError` if the codes are not an integer matrix, or their products would not stay below 2^53.
    """
    if codes.ndim != 2 or codes.is_floating_point():
        raise AdapterError(f"codes are integers [samples, features]; got {codes.dtype} {list(codes.shape)}")
    samples, features = codes.shape
    largest = int(codes.abs().max()) if codes.numel() else 0
    bound = largest * largest * samples
    if bound >= _FLOAT64_LIMIT:
        raise AdapterError(f"{samples} vectors of codes up to {largest} make sums beyond 2^53")
    # Every product and partial sum is an integer that the type holds, so the product is exact in any order;
    # float32 halves what a small device has to move.
    real = codes.to(torch.float32 if bound < _FLOAT32_LIMIT else torch.float64)
    width, entry = (4, torch.int32) if bound < 1 << 31 else (8, torch.int64)
    gram = (real.T @ real).to(entry).numpy().astype(f"<i{width}", copy=False)
    code_sum = codes.sum(dim=0, dtype=torch.int64).numpy().astype("<i8", copy=False)
    return pack(features, samples, width, code_sum.tobytes(), (gram[i, i:].tobytes() for i in range(features)))


def share_cost(preset: Preset, samples: int, features: int) -> Cost:
    """Return the cost of computing packed statistics: each product once, codes read, triangle written."""
    entries = features * (features + 1) // 2
    return (
        cost.digital_macs(preset, samples * entries, cost.Precision.FP32)
        + cost.sram_read(preset, 4 * samples * features)
        + cost.sram_write(preset, 4 * entries)
    )
