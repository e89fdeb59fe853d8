"""LoRA branch of the output layer: ``alpha / rank * B (A z)`` on whitened unit vectors z."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from reram_fleet.v1.types_pb2 import LoraShape
from torch import Tensor

from edge_node.backbones.random_signs import keyed_signs
from edge_node.recognition.whitening import ChipWhitening
from hwmodel.streams import keyed_seed


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


def project_public(shape: LoraShape, chip: ChipWhitening) -> Tensor:
    """Return what `project` does of a chip's public samples, float64 [P, rank]."""
    return chip.public_map(frozen_a(shape.a_seed, shape.rank, shape.features)) * (shape.alpha / shape.rank)
