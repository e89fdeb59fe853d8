"""Tasks: which people, which clips, and what a node may read by itself.

A task is data, never code that touches a network. Only the *public* people's clips are ever read by a
node by itself, to calibrate its chip; clips of everybody else come in through EngineService.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import ClipError, TaskError


@dataclass(frozen=True)
class Person:
    """One real person of a task.

    Attributes
    ----------
    name : str
        Public name inside the data set, for example "s01". Never travels to a coordinator.
    train, test : tuple of ndarray
        float32 [frames, channels] each.
    """

    name: str
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class InputCoding:
    """How samples become signed 8-bit DAC codes: ``clamp(round(sample * gain) - offset, -127, 127)``.

    Attributes
    ----------
    gains : tuple of int
        Codes per unit of each channel; powers of two, so that a float32 product is exact.
    offsets : tuple of int
        Codes subtracted, per channel.
    min_frames, max_frames : int
        Lengths of clip that are taken.
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

    def encode(self, clip: np.ndarray) -> Tensor:
        """Return DAC codes, int32 [frames, channels].

        Raises
        ------
        ClipError
            If the clip is not finite float32 [min_frames..max_frames, channels].
        """
        if clip.dtype != np.float32 or clip.ndim != 2 or clip.shape[1] != self.channels:
            raise ClipError(
                f"a clip is float32 [frames, {self.channels}]; got {clip.dtype} {list(clip.shape)}"
            )
        if not self.min_frames <= len(clip) <= self.max_frames:
            raise ClipError(
                f"a clip has {self.min_frames} to {self.max_frames} frames; got {len(clip)}: "
                "cut the recording into utterances"
            )
        if not np.isfinite(clip).all():
            raise ClipError("a clip has a sample that is NaN or infinite")
        # Clipped first, so that no product overflows float32 or int32.
        limit = np.float32(1 << 10)
        scaled = np.rint(np.clip(clip, -limit, limit) * np.array(self.gains, dtype=np.float32))
        codes = scaled.astype(np.int32) - np.array(self.offsets, dtype=np.int32)
        return torch.from_numpy(np.clip(codes, -127, 127))


@dataclass(frozen=True)
class Split:
    """Roles of a task's people: disjoint names."""

    public: tuple[str, ...]
    enrolled: tuple[str, ...]
    strangers: tuple[str, ...]


class Task(Protocol):
    """What an engine must know of a task."""

    @property
    def name(self) -> str:
        """Name on the command line and in GetStatus."""

    @property
    def coding(self) -> InputCoding:
        """How a clip's samples become DAC codes."""

    @property
    def split(self) -> Split:
        """Who is public, who gets enrolled in demos, who never is."""

    def load_people(self) -> Mapping[str, Person]:
        """Return everybody, by name."""

    def public_clips(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the calibration clips: public people only."""


def load_task(name: str) -> Task:
    """Return the task called `name`.

    Raises
    ------
    TaskError
        If there is no such task.
    """
    from edge_node.tasks.speakers import SPEAKERS

    makers: dict[str, Callable[[], Task]] = {"speakers": lambda: SPEAKERS}
    if name not in makers:
        raise TaskError(f"there is no task {name!r}; known: {', '.join(sorted(makers))}")
    return makers[name]()
