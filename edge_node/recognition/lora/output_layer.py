"""LoRA branch of the output layer: ``alpha / rank * B (A z)`` on whitened unit vectors z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from reram_fleet.v1.types_pb2 import LoraRow, LoraShape, SharedLora
from torch import Tensor

from edge_node.backbones.random_signs import keyed_signs
from edge_node.errors import AdapterError
from hwmodel.streams import keyed_seed

_INT32_MAX = 2**31 - 1


@lru_cache(maxsize=8)
def frozen_a(a_seed: int, rank: int, features: int) -> Tensor:
    """Return the frozen factor A, float64 [rank, features]: random signs of the seed.

    Since z has length 1, the entries of A z have about unit variance.
    """
    return keyed_signs(rank, features, a_seed, "lora.a", rank, features).double()


def frozen_factor(a_seed: int, layer: str, rank: int, inputs: int) -> Tensor:
    """Return the frozen A of a layer, float64 ``[rank, in]``: keyed random signs over the root of `inputs`.

    So each row has length 1, and entries of A x have the size of an entry of x. Rounded to float32, so that
    A is the same number in every file format.
    """
    signs = frozen_a(keyed_seed(a_seed, "lora.a.layer", layer), rank, inputs)
    return signs * float(torch.tensor(1.0 / math.sqrt(inputs), dtype=torch.float32))


def project(shape: LoraShape, unit: Tensor) -> Tensor:
    """Return ``alpha / rank * A z``, float64 [..., rank], so that the branch's logits are this times B'."""
    return unit @ frozen_a(shape.a_seed, shape.rank, shape.features).mT * (shape.alpha / shape.rank)


def quantise(shape: LoraShape, tags: Sequence[str], b: Tensor) -> SharedLora:
    """Return a trained B, float [K, rank], as it is installed: int32 codes at 2^-scale_bits, half to even.

    `AdapterError` if B is not finite or does not fit into int32 codes.
    """
    codes = torch.round(b.double() * 2.0**shape.scale_bits)
    if not bool(torch.isfinite(codes).all()) or (codes.numel() and float(codes.abs().max()) > _INT32_MAX):
        raise AdapterError(f"B does not fit into int32 at 2^-{shape.scale_bits}: learning has diverged")
    rows = [LoraRow(subject_tag=tag, codes=row) for tag, row in zip(tags, codes.to(torch.int64).tolist(), strict=True)]
    return SharedLora(shape=shape, rows=rows)
