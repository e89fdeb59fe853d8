"""A programmed model beside the float model that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from hwmodel import program
from tests.bench.face_backbones import MODELS, PRESET
from tests.bench.side_by_side import Pair

#: Photos per call.
PHOTOS = 64


def model_pairs() -> Iterator[Pair]:
    """Yield each face backbone on one chip, and programming it."""
    for name, build in MODELS.items():
        model, photo = build()
        photos = photo.expand(PHOTOS, *photo.shape[1:])
        chip = program(model, PRESET, 1)
        yield Pair(
            f"{name} on one chip, {PHOTOS} photos",
            partial(chip, photos),
            "the float model",
            partial(model, photos),
        )
        yield Pair(
            f"programming {name}",
            partial(program, model, PRESET, 1),
            f"the float model, {PHOTOS} photos",
            partial(model, photos),
        )
