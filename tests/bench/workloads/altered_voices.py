"""Voices that nobody has, made of public people's: negatives that stand for all the strangers to come.

A recording played faster or slower has another pitch and other formants: speed perturbation makes new speakers for
speaker verification (H. Yamamoto et al., "Speaker augmentation and bandwidth extension for deep speaker embedding",
Interspeech 2019). Loudness is altered, too. Only public people are ever altered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_node.backbones.log_mel import MIN_SAMPLES
from hwmodel.streams import keyed_uint16

#: Speeds; each but 1 is another person, and that one the same at another distance.
SPEEDS = (0.8, 0.9, 1.0, 1.1, 1.25)
#: Loudness varies by up to this many doublings of the amplitude either way.
GAIN_DOUBLINGS = 4.0


def altered(recording: np.ndarray, speed: float, gain: float) -> npt.NDArray[np.float32]:
    """Return a recording at another speed and loudness: float32 [samples / speed, 1], saturated at -1 and 1."""
    length = max(MIN_SAMPLES, int(len(recording) / speed))
    # Interpolation is linear; past the end the last sample is held.
    played = np.interp(np.arange(length) * speed, np.arange(len(recording)), recording[:, 0].astype(np.float64))
    heard: npt.NDArray[np.float32] = np.clip(played * gain, -1, 1).astype(np.float32)
    return heard[:, None]


def altered_voices(seed: int, name: str, recordings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return each recording at every speed, with a loudness drawn from (seed, name)."""
    draws = keyed_uint16(seed, "speakers.altered", name, count=len(SPEEDS) * len(recordings)).numpy()
    gains = 2.0 ** (GAIN_DOUBLINGS * (draws / 32_767.5 - 1))
    voices = [(speed, recording) for speed in SPEEDS for recording in recordings]
    return [altered(recording, speed, gain) for (speed, recording), gain in zip(voices, gains.tolist(), strict=True)]
