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
from edge_node.tasks.faces import FACES, photos_folder
from edge_node.tasks.speakers import load_people
from fleet.errors import InvalidInputError
from fleet.lab.paper.networks.lsm import CHANNELS, STEPS
from fleet.lab.paper.networks.mixer import IMAGE_SIDE
from hwmodel import keyed_generator

#: Photos of each person that the network and its chips learn from; the others are held out.
_FIT_PHOTOS = 5
_PHOTOS = 10
#: Shifted, mirrored and dimmed copies of every image that the network is trained on.
_VIEWS = 20
_TRAINING_DIGITS, _FIT_DIGITS, _HELD_OUT_DIGITS = 600, 100, 400
#: Coefficients of a frame whose change since the frame before is coded too.
_CHANGES = 2


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

    Raises `InvalidInputError` if the folder lacks the photos, the network takes none, or sktime's data are missing or
    damaged.

    Parameters
    ----------
    network
        ``"face-mixer"`` or ``"speaker-lsm"``.
    folder
        Where ``olivetti_py3.pkz`` lies, for the faces; scikit-learn's own data folder if None, and its embedded digits
        if they are not there either.
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


def threshold_code(signals: np.ndarray, thresholds: np.ndarray) -> Tensor:
    """Return a spike for every threshold that a signal exceeds.

    Returns float32 0 or 1, ``[samples, steps, signals * levels]``.

    Parameters
    ----------
    signals
        Float ``[samples, steps, signals]``.
    thresholds
        Float ``[levels, signals]``, ascending.
    """
    spikes = signals[..., None] > thresholds.T
    return torch.from_numpy(spikes.reshape(*signals.shape[:2], -1).astype(np.float32))


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
    from sklearn.datasets import fetch_olivetti_faces

    named = str(folder) if folder is not None else photos_folder()
    try:
        bunch = fetch_olivetti_faces(data_home=named, download_if_missing=False)
    except OSError as error:
        if named is None:
            return None
        raise InvalidInputError(
            f"no Olivetti photos in {named}: {error}",
            hint="Name a folder that has olivetti_py3.pkz, or none to use scikit-learn's own.",
        ) from error
    images = torch.from_numpy(bunch.images[np.argsort(bunch.target, kind="stable")].astype(np.float32))
    small = functional.avg_pool2d(images, images.shape[-1] // IMAGE_SIDE)
    return small.view(-1, _PHOTOS, IMAGE_SIDE, IMAGE_SIDE)


def _digits(seed: int) -> PublicData:
    from sklearn.datasets import load_digits

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
        training=torch.cat([_normalised(images), *(_normalised(view) for view in _views(images, seed))]),
        training_labels=labels.repeat(1 + _VIEWS),
        fit=_normalised(fit),
        held_out=_normalised(held_out[0]),
        held_out_labels=held_out[1],
    )


def _normalised(images: Tensor) -> Tensor:
    """Return images of mean 0 and mean square 1 each."""
    centred = images - images.mean(dim=(1, 2), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2), keepdim=True).sqrt()


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
    signals = {
        part: [resampled_vowels(sample) for person in people.values() for sample in getattr(person, part)]
        for part in ("train", "test")
    }
    labels = {
        part: torch.tensor([index for index, person in enumerate(people.values()) for _ in getattr(person, part)])
        for part in ("train", "test")
    }
    fit, held_out = np.stack(signals["train"]), np.stack(signals["test"])
    levels = CHANNELS // fit.shape[2]
    middles = (np.arange(levels) + 0.5) / levels
    thresholds = np.quantile(fit.reshape(-1, fit.shape[2]), middles, axis=0)
    spikes = threshold_code(fit, thresholds)
    return PublicData(
        title=f"JapaneseVowels, {len(people)} people, {len(fit)} samples to fit and {len(held_out)} held out",
        classes=len(people),
        training=spikes,
        training_labels=labels["train"],
        fit=spikes,
        held_out=threshold_code(held_out, thresholds),
        held_out_labels=labels["test"],
    )


def resampled_vowels(sample: np.ndarray) -> np.ndarray:
    """Return 12 coefficients and the changes of the first two at ten moments, float64 ``[10, 14]``."""
    moments = np.linspace(0, len(sample) - 1, STEPS)
    frames = np.arange(len(sample))
    coefficients = np.stack([np.interp(moments, frames, channel) for channel in sample.T], axis=1)
    changes = np.diff(coefficients[:, :_CHANGES], axis=0, prepend=coefficients[:1, :_CHANGES])
    return np.concatenate([coefficients, changes], axis=1)
