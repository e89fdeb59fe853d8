"""Shape of the shared LoRA: what a coordinator has trained, and what a node without one counts with."""

from __future__ import annotations

from reram_fleet.v1.types_pb2 import LoraShape

#: Rank, weight and storage of the shared LoRA. B is kept at 2^-16: its rows stay below 2^15 in
#: magnitude, so int32 never saturates, and one step is far below the noise of a chip's features.
RANK = 16
ALPHA = 16.0
SCALE_BITS = 16


def lora_shape(features: int, a_seed: int) -> LoraShape:
    """Return the shape of a shared LoRA over `features` feature codes."""
    return LoraShape(features=features, rank=RANK, alpha=ALPHA, a_seed=a_seed, scale_bits=SCALE_BITS)
