"""Public data for calibrating chips: what the network is trained on, and what it is judged by.

Nobody here is enrolled anywhere: all people of this experiment are public ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import TaskError
from edge_node.tasks.faces import FACES, olivetti_photos, photos_folder
from edge_node.tasks.speakers import load_people
from fleet.errors import InvalidInputError
from fleet.lab.paper.networks.inputs import even_thresholds, normalised, resampled_vowels, shrunk, threshold_code
from fleet.lab.paper.networks.mixer import IMAGE_SIDE
from hwmodel import keyed_generator

#: Photos of each person that the network and its chips learn from; the others are held out.
_FIT_PHOTOS = 5
_PHOTOS = 10
#: Shifted, mirrored and dimmed copies of every image that the network is trained on.
_VIEWS = 20
_TRAINING_DIGITS, _FIT_DIGITS, _HELD_OUT_DIGITS = 600, 100, 400


@dataclass(frozen=True, eq=False, slots=True)
class PublicData:
    """One task, split into what is learnt from and what is held out."""

    title: str
    classes: int
    training: Tensor  #: what the network is trained on, with augmentation; float ``[B, ...]`` and int64 ``[B]``
    training_labels: Tensor
    fit: Tensor  #: what chips are calibrated on: originals of the same, without labels
    held_out: Tensor  #: what accuracy and features are measured on; originals that were in neither
    held_out_labels: Tensor


def load_public_data(network: str, *, folder: Path | None, seed: int) -> PublicData:
    """Return the public data of one of the paper's small networks.

    The folder has ``olivetti_py3.pkz``, for the faces: scikit-learn's own data folder if None, and its embedded digits
    if they are not there either. Raises `InvalidInputError` if the folder lacks the photos, the network takes none, or
    sktime's data are missing or damaged.
    """
    if network == "speaker-lsm":
        if folder is not None:
            raise InvalidInputError(
                f"network {network!r} reads no folder: its data come with sktime", hint="Leave out --data."
            )
        try:
            return _speakers()
        except TaskError as error:
            raise InvalidInputError(str(error)) from error
    photos = _olivetti(folder)
    return _digits(seed) if photos is None else _faces(photos, seed)


def _faces(photos: Tensor, seed: int) -> PublicData:
    public = photos[[int(name[1:]) for name in FACES.split.public]]
    people = len(public)
    labels = torch.arange(people)
    fit, held_out = (part.flatten(0, 1) for part in (public[:, :_FIT_PHOTOS], public[:, _FIT_PHOTOS:]))
    return _images(
        f"Olivetti, the {people} public people, {_FIT_PHOTOS} photos each to fit and {_PHOTOS - _FIT_PHOTOS} held out",
        seed,
        training=(fit, labels.repeat_interleave(_FIT_PHOTOS)),
        fit=fit,
        held_out=(held_out, labels.repeat_interleave(_PHOTOS - _FIT_PHOTOS)),
    )


def _olivetti(folder: Path | None) -> Tensor | None:
    """Return photos, float32 ``[40, 10, 16, 16]``, or None if there are none and none were asked for."""
    named = str(folder) if folder is not None else photos_folder()
    try:
        return shrunk(olivetti_photos(named))
    except TaskError as error:
        if named is None:
            return None
        raise InvalidInputError(
            f"no Olivetti photos in {named}: {error.__cause__ or error}",
            hint="Name a folder that has olivetti_py3.pkz, or none to use scikit-learn's own.",
        ) from error


def _digits(seed: int) -> PublicData:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # it has no types

    bunch = load_digits()
    small = torch.from_numpy(bunch.images.astype(np.float32))[:, None]
    images = functional.interpolate(small, (IMAGE_SIDE, IMAGE_SIDE), mode="bilinear")[:, 0]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    training = slice(_TRAINING_DIGITS)
    held_out = slice(_TRAINING_DIGITS, _TRAINING_DIGITS + _HELD_OUT_DIGITS)
    return _images(
        f"digits of scikit-learn (no Olivetti photos were found), {_TRAINING_DIGITS} to train, {_FIT_DIGITS} "
        f"of them to fit, and {_HELD_OUT_DIGITS} held out",
        seed,
        training=(images[training], labels[training]),
        fit=images[:_FIT_DIGITS],
        held_out=(images[held_out], labels[held_out]),
    )


def _images(
    title: str, seed: int, *, training: tuple[Tensor, Tensor], fit: Tensor, held_out: tuple[Tensor, Tensor]
) -> PublicData:
    images, labels = training
    return PublicData(
        title=title,
        classes=int(labels.max()) + 1,
        training=torch.cat([normalised(images), *(normalised(view) for view in _views(images, seed))]),
        training_labels=labels.repeat(1 + _VIEWS),
        fit=normalised(fit),
        held_out=normalised(held_out[0]),
        held_out_labels=held_out[1],
    )


def _views(images: Tensor, seed: int) -> list[Tensor]:
    """Return copies moved by up to a pixel, with a bit of pixel noise; faces and digits alike."""
    generator = keyed_generator(seed, "restore.views")
    views = []
    for _ in range(_VIEWS):
        moves = torch.randint(-1, 2, (len(images), 2), generator=generator).tolist()
        moved = [torch.roll(image, tuple(move), dims=(0, 1)) for image, move in zip(images, moves, strict=True)]
        spread = images.std() * 0.1
        views.append(torch.stack(moved) + spread * torch.randn(images.shape, generator=generator))
    return views


def _speakers() -> PublicData:
    people = load_people()
    fit, held_out = (
        np.stack([resampled_vowels(sample) for person in people.values() for sample in getattr(person, part)])
        for part in ("train", "test")
    )
    labels, held_out_labels = (
        torch.tensor([index for index, person in enumerate(people.values()) for _ in getattr(person, part)])
        for part in ("train", "test")
    )
    thresholds = even_thresholds(fit)
    spikes = threshold_code(fit, thresholds)
    return PublicData(
        title=f"JapaneseVowels, {len(people)} people, {len(fit)} samples to fit and {len(held_out)} held out",
        classes=len(people),
        training=spikes,
        training_labels=labels,
        fit=spikes,
        held_out=threshold_code(held_out, thresholds),
        held_out_labels=held_out_labels,
    )
