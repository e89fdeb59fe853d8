"""Log-mel levels of a microphone's samples, as they reach a crossbar, in integers throughout.

Per recording, with ``>>`` the arithmetic shift and all tables made once and rounded::

    x   16-bit samples; x[t] - x[t-1] + (x[t-1] >> 5)      pre-emphasis by 31/32
    x  << s, so that the largest magnitude has 17 bits     quiet recordings keep their low bits
    X   Hann-windowed Fourier sums over 256 samples every 80, >> 15
    E   sum of 8-bit mel weights times |X|^2
    l   log2(E + 1) by exponent and a table of the leading 10 bits, less 2 s: levels in 1/256 octaves of power

A fast Fourier transform in floating point would round differently on other processors, and a level on a
rounding boundary would then become another code. Here every product and sum is an integer below 2^53 in
float64, or an int64: so the levels are exact, whatever the batch, library or processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from edge_node.errors import EngineError, SampleError

SAMPLE_RATE_HZ = 8_000
#: Samples of a frame, and between frames: 32 ms every 10 ms.
FRAME, HOP = 256, 80
#: Ten frames at least, and 1 MiB of float32 samples (33 s) at most.
MIN_SAMPLES, MAX_SAMPLES = FRAME + 9 * HOP, 1 << 18
#: Lowest and highest edge of the mel bands.
EDGES_HZ = (60.0, 4_000.0)
#: Levels are in 1/256 octaves of power.
OCTAVE = 256

_BINS = FRAME // 2
_TABLE_BITS, _SHIFT, _HEADROOM_BITS, _MANTISSA_BITS = 14, 15, 17, 10
_MEL_UNIT = 256

Int64 = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


def _rounded(exact: Real, what: str) -> Real:
    """Round a table, refusing entries where two maths libraries could round differently."""
    closest = float(np.abs(np.abs(exact) % 1.0 - 0.5).min())
    if closest <= 1e-7:
        raise EngineError(f"an entry of the table of {what} is {closest:.1e} from a rounding boundary")
    return np.rint(exact)


@cache
def _fourier_table() -> Real:
    """Return windowed cosines, then sines, of bins 1 to 128: integers as float64 [256, 256]."""
    sample = np.arange(FRAME)[:, None]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (sample + 0.5) / FRAME)
    # The angle modulo a turn, as an integer: sines of multiples of a half turn are then close to zero.
    angle = 2 * np.pi * (sample * np.arange(1, _BINS + 1)[None] % FRAME) / FRAME
    waves = np.concatenate([window * np.cos(angle), window * np.sin(angle)], axis=1)
    return _rounded(np.ldexp(waves, _TABLE_BITS), "windowed waves")


@cache
def mel_weights(bands: int) -> Int64:
    """Return triangular weights in 1/256, int64 [128, bands]; a band below a bin's width is its nearest bin.

    `EngineError` if there are no bands, or more than bins.
    """
    if not 1 <= bands <= _BINS:
        raise EngineError(f"a log-mel front end has 1 to {_BINS} bands; got {bands}")

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    low, high = (mel(hz) for hz in EDGES_HZ)
    steps = low + (high - low) * np.arange(bands + 2) / (bands + 1)
    edges = np.array([700 * (10 ** (step / 2595) - 1) for step in steps])
    bins = (np.arange(1, _BINS + 1) * SAMPLE_RATE_HZ / FRAME)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    narrow = np.flatnonzero(weights.sum(axis=0) < 1)
    weights[np.abs(bins - edges[1:-1])[:, narrow].argmin(axis=0), narrow] = 1
    return _rounded(weights * _MEL_UNIT, "mel weights").astype(np.int64)


@cache
def _log_table() -> Int64:
    """Return ``round(256 log2(1 + (i + 1/2) / 1024))``, int64 [1024]."""
    size = 1 << _MANTISSA_BITS
    exact = np.array([OCTAVE * math.log2(1 + (i + 0.5) / size) for i in range(size)])
    return _rounded(exact, "logarithms").astype(np.int64)


@dataclass(frozen=True)
class LogMel:
    """Front end of so many mel bands."""

    bands: int

    def levels(self, recording: npt.NDArray[np.float32]) -> Int64:
        """Return the levels of a recording, int64 [frames, bands], in 1/256 octaves of power.

        A full-scale sine has about 50 octaves; 3 dB is one octave of power. Silence has the lowest level. `SampleError`
        if the recording is not float32 [samples, 1] at 8 kHz, within -1 ... 1, or too short or too long.
        """
        samples = _samples(recording)
        emphasised = samples[1:] - samples[:-1] + (samples[:-1] >> 5)
        shift = _HEADROOM_BITS - int(np.abs(emphasised).max()).bit_length()
        loud = np.left_shift(emphasised, shift)
        count = (len(samples) - FRAME) // HOP + 1
        # One sample went into the difference: the last frame may lack one.
        loud = np.append(loud, 0)
        frames = np.lib.stride_tricks.sliding_window_view(loud, FRAME)[::HOP][:count]
        waves = (frames.astype(np.float64) @ _fourier_table()).astype(np.int64) >> _SHIFT
        power = waves[:, :_BINS] ** 2 + waves[:, _BINS:] ** 2
        energy = power @ mel_weights(self.bands)
        mantissa, exponent = np.frexp((energy + 1).astype(np.float64))
        leading = ((2 * mantissa - 1) * (1 << _MANTISSA_BITS)).astype(np.int64)
        logarithm = _log_table()[leading] + OCTAVE * (exponent.astype(np.int64) - 1)
        return logarithm - 2 * OCTAVE * (shift - (_SHIFT - _TABLE_BITS + 2))

    @property
    def macs_per_frame(self) -> int:
        """Multiply-accumulates of one frame: as Fourier sums, magnitudes and mel bands."""
        return FRAME * 2 * _BINS + 2 * _BINS + int((mel_weights(self.bands) > 0).sum())


def frames_of(recording: npt.NDArray[np.float32]) -> int:
    """Return how many frames a valid recording has."""
    return (len(recording) - FRAME) // HOP + 1


def _samples(recording: npt.NDArray[np.float32]) -> Int64:
    if recording.dtype != np.float32 or recording.ndim != 2 or recording.shape[1] != 1:
        raise SampleError(
            f"a recording of sound is float32 [samples, 1]; got {recording.dtype} {list(recording.shape)}"
        )
    if not MIN_SAMPLES <= len(recording) <= MAX_SAMPLES:
        raise SampleError(
            f"a recording of sound has {MIN_SAMPLES} to {MAX_SAMPLES} samples at 8 kHz; got {len(recording)}: cut the "
            "recording into utterances"
        )
    if not (np.isfinite(recording).all() and float(np.abs(recording).max()) <= 1):
        raise SampleError("a recording of sound has samples from -1 to 1; this one has others, or NaN")
    return np.rint(recording[:, 0].astype(np.float64) * 32_767).astype(np.int64)
