"""Samples as they travel to a node's EngineService."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from reram_fleet.v1.engine_pb2 import Sample

from edge_node.errors import SampleError


def encode_sample(sample: np.ndarray) -> Sample:
    """Return a sample, float32 [frames, channels], as it travels."""
    frames, channels = sample.shape
    return Sample(frames=frames, channels=channels, values=sample.astype("<f4").tobytes())


def decode_samples(samples: Iterable[Sample]) -> list[np.ndarray]:
    """Return samples as float32 [frames, channels]; `SampleError` if one is not that many finite values."""
    decoded = []
    for number, sample in enumerate(samples):
        expected = 4 * sample.frames * sample.channels
        if expected == 0 or len(sample.values) != expected:
            raise SampleError(
                f"sample {number} has {len(sample.values)} bytes, expected {expected} for "
                f"{sample.frames} frames of {sample.channels} float32 channels"
            )
        values = np.frombuffer(sample.values, dtype="<f4").reshape(sample.frames, sample.channels)
        if not np.isfinite(values).all():
            raise SampleError(f"sample {number} holds values that are NaN or infinite")
        decoded.append(values.astype(np.float32))
    return decoded
