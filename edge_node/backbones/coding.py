"""Coding of recordings as DAC codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import SampleError, TaskError


@dataclass(frozen=True)
class InputCoding:
    """Coding of samples as signed 8-bit DAC codes: ``clamp(round(sample * gain) - offset, -127, 127)``.

    Attributes
    ----------
    gains
        Codes per unit of each channel; powers of two, so that a float32 product is exact.
    offsets
        Codes subtracted, per channel.
    min_frames, max_frames
        Lengths of sample that are taken.
    """

    gains: tuple[int, ...]
    offsets: tuple[int, ...]
    min_frames: int
    max_frames: int

    def __post_init__(self) -> None:
        if len(self.gains) != len(self.offsets) or not self.gains:
            raise TaskError(f"{len(self.gains)} gains and {len(self.offsets)} offsets: give one per channel")
        if any(gain < 1 or gain & (gain - 1) for gain in self.gains):
            raise TaskError(f"gains must be powers of two; got {self.gains}")
        if not 2 <= self.min_frames <= self.max_frames:
            raise TaskError(f"need 2 <= min_frames <= max_frames; got {self.min_frames}, {self.max_frames}")

    @property
    def channels(self) -> int:
        """Values per frame."""
        return len(self.gains)

    def encode(self, sample: np.ndarray) -> Tensor:
        """Return DAC codes, int32 [frames, channels].

        `SampleError` if the sample is not finite float32 [min_frames..max_frames, channels].
        """
        if sample.dtype != np.float32 or sample.ndim != 2 or sample.shape[1] != self.channels:
            raise SampleError(f"a sample is float32 [frames, {self.channels}]; got {sample.dtype} {list(sample.shape)}")
        if not self.min_frames <= len(sample) <= self.max_frames:
            raise SampleError(
                f"a sample has {self.min_frames} to {self.max_frames} frames; got {len(sample)}: "
                "cut the recording into utterances"
            )
        if not np.isfinite(sample).all():
            raise SampleError("a sample has a value that is NaN or infinite")
        # Clipped first, so that no product overflows float32 or int32.
        limit = np.float32(1 << 10)
        scaled = np.rint(np.clip(sample, -limit, limit) * np.array(self.gains, dtype=np.float32))
        codes = scaled.astype(np.int32) - np.array(self.offsets, dtype=np.int32)
        return torch.from_numpy(np.clip(codes, -127, 127))
