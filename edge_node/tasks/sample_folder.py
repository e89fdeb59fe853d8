"""Folder of samples: a folder for each person in it, and a file for each sample.

Files are ``.npy`` arrays, images (``.png``, ``.jpg``, ``.jpeg``, ``.pgm``, ``.bmp``) or ``.wav`` sound; another reader
can be given. A sample is float32 of one shape for everybody, as a model takes it without the batch axis: images
``[1 or 3, height, width]`` of 0 to 1, sound ``[channels, length]`` of -1 to 1, arrays as they are.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from edge_node.errors import SampleError, TaskError
from edge_node.tasks import Person, Split

IMAGES = (".png", ".jpg", ".jpeg", ".pgm", ".bmp")
SUFFIXES = (".npy", *IMAGES, ".wav")


def read_sample(file: Path) -> np.ndarray:
    """Return the sample in a file, float32; `TaskError` if it cannot be read, whatever the reason."""
    readers = {".npy": _read_array, ".wav": _read_sound} | dict.fromkeys(IMAGES, _read_image)
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise TaskError(f"{file} is no sample: they end with {', '.join(SUFFIXES)}")
    try:
        return reader(file)
    except (OSError, ValueError, EOFError, SyntaxError, struct.error) as error:
        # The last two are what Pillow and scipy raise for some broken files.
        raise TaskError(f"{file} cannot be read ({error})") from error


def _read_array(file: Path) -> np.ndarray:
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise ValueError("it holds no array of real numbers")
    return found.astype(np.float32)


def _read_image(file: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"its pixels are of mode {image.mode}: give 8 bits")
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return np.moveaxis(np.atleast_3d(pixels), -1, 0).astype(np.float32) / np.float32(255)


def _read_sound(file: Path) -> np.ndarray:
    from scipy.io import wavfile

    _, samples = wavfile.read(file)
    values = np.atleast_2d(samples.T)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / np.float32(128)
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max + 1)
    return values.astype(np.float32)


def flat(sample: np.ndarray) -> np.ndarray:
    """Return a sample as it travels, two-dimensional: all axes but the last as one."""
    return sample.reshape(math.prod(sample.shape[:-1]), sample.shape[-1])


def keyed_order(names: Collection[str], seed: int, *purpose: str) -> list[str]:
    """Return names in an order that a seed draws: each has its place by itself, whoever else is there."""

    def place(name: str) -> bytes:
        return hashlib.sha256("\0".join((str(seed), *purpose, name)).encode()).digest()

    return sorted(names, key=place)


def people_in(folder: Path) -> list[str]:
    """Return the names of a folder's folders, sorted; `TaskError` if there is no such folder."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise TaskError(f"there is no folder of samples {folder} ({error.strerror})") from error


@dataclass(frozen=True)
class SampleFolder:
    """Samples of people, of whom each has a role.

    Public people are named, since they calibrate every chip: a node needs their folders and no others. Everybody else
    is enrolled by demos, but for some strangers, whom a seed draws; so does it half of each person's samples to test
    with.

    Attributes
    ----------
    folder
        Place of the people's folders.
    shape
        Of every sample, as the model takes it without the batch axis.
    public
        Names of the public people.
    strangers
        How many are never enrolled.
    seed
        Draws who they are, and which samples test.
    variable
        Environment variable that names another place on this machine, or "".
    read
        Reads a file; `TaskError` if it cannot.
    """

    folder: str
    shape: tuple[int, ...]
    public: tuple[str, ...]
    strangers: int
    seed: int = 1
    variable: str = ""
    read: Callable[[Path], np.ndarray] = read_sample

    @property
    def place(self) -> Path:
        """The folder on this machine."""
        return Path(os.environ.get(self.variable, "") or self.folder)

    @property
    def split(self) -> Split:
        """Roles of the people who are here; `TaskError` if the folder or a public person is not."""
        try:
            here = people_in(self.place)
        except TaskError as error:
            raise TaskError(f"{error}{f'; {self.variable} names it' if self.variable else ''}") from error
        if missing := sorted(set(self.public) - set(here)):
            raise TaskError(f"{self.place} has no folder of the public people {', '.join(missing)}")
        others = keyed_order(set(here) - set(self.public), self.seed, "stranger")
        return Split(self.public, tuple(sorted(others[self.strangers :])), tuple(sorted(others[: self.strangers])))

    def people(self, names: Sequence[str]) -> dict[str, Person]:
        """Return some people with samples as they travel; half of each person's, or one more, are to learn from.

        `TaskError` if a file is no sample, or of another shape.
        """
        found = {}
        for name in names:
            files = _samples(self.place / name, self.read)
            if wrong := next((each for each, sample in files.items() if sample.shape != self.shape), None):
                raise TaskError(
                    f"{self.place / name / wrong} has shape {list(files[wrong].shape)}, the others "
                    f"{list(self.shape)}: all samples of a task have one shape"
                )
            mine = [flat(files[file]) for file in keyed_order(files, self.seed, "sample", name)]
            half = (len(mine) + 1) // 2
            found[name] = Person(name, tuple(mine[:half]), tuple(mine[half:]))
        return found

    def shaped(self, sample: np.ndarray) -> np.ndarray:
        """Return a sample that travelled as the model takes it; `SampleError` if it cannot be one of these."""
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1]
        if sample.dtype != np.float32 or sample.shape != (rows, columns):
            raise SampleError(
                f"a sample of this task is float32 [{rows}, {columns}]; got {sample.dtype} {list(sample.shape)}"
            )
        if not np.isfinite(sample).all():
            raise SampleError("a sample has a value that is NaN or infinite")
        return sample.reshape(self.shape)


@cache
def _samples(folder: Path, read: Callable[[Path], np.ndarray]) -> dict[str, np.ndarray]:
    """Return the samples in a person's folder by the name of their file, read-only."""
    samples = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        sample = np.ascontiguousarray(read(file), np.float32)
        if not sample.size or not sample.ndim or not np.isfinite(sample).all():
            raise TaskError(f"{file} has no values, or one that is NaN or infinite")
        sample.setflags(write=False)
        samples[file.name] = sample
    return samples
