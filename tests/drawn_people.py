"""Drawn people: folders of small images that show nobody, each person a pattern under noise; and a model for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

SIDE = 12
NOISE = 0.08


def model() -> nn.Module:
    """Return a network that nobody trained."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, stride=2), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 25, 48), nn.ReLU()
    )


def draw_people(folder: Path, people: int = 11, samples: int = 20) -> Path:
    """Write a folder of PNG files for each person, `p00` first; the same every time."""
    for person in range(people):
        draws = np.random.default_rng(person)
        pattern = draws.uniform(0.2, 0.8, size=(SIDE, SIDE))
        mine = folder / f"p{person:02d}"
        mine.mkdir(parents=True)
        for number in range(samples):
            levels = np.clip(pattern + NOISE * draws.normal(size=(SIDE, SIDE)), 0, 1)
            Image.fromarray((levels * 255).astype(np.uint8)).save(mine / f"{number}.png")
    return folder
