"""Photos in place of the Olivetti faces, for tests that need no data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def made_up_photos(seed: int = 1) -> npt.NDArray[np.float32]:
    """Return forty random pictures of ten shots each, shifted and with noise of their own: float32 [40, 10, 64, 64]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:72, 0:72] / 64
    photos = np.empty((40, 10, 64, 64), np.float32)
    for person in photos:
        waves, phases = generator.uniform(-6, 6, (8, 2)), generator.uniform(0, 6, 8)
        picture = sum(np.cos(2 * np.pi * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True))
        for shot in person:
            top, left = generator.integers(0, 4, 2)
            cut = picture[top : top + 64, left : left + 64] + generator.normal(0, 0.5, (64, 64))
            shot[:] = (cut - cut.min()) / np.ptp(cut)
    return photos
