"""Task `faces-yale-b`: 38 real people under 64 lights each (Extended Yale Face Database B, cropped to the face).

A. Georghiades, P. Belhumeur, D. Kriegman, "From few to many: illumination cone models for face recognition under
variable lighting and pose", IEEE PAMI 23, 2001; cropped by K. Lee, J. Ho and D. Kriegman, IEEE PAMI 27, 2005. Light
comes from up to 130 degrees aside, so that some photos are all but black. The photos are not ours to ship: they are
read from `extended_yale_b_32x32.mat` in the folder that `RERAM_FLEET_DATA` names, or from the file that
`RERAM_FLEET_YALE_B` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from edge_node.errors import TaskError
from edge_node.tasks.data_folder import DATA_VARIABLE, data_source
from edge_node.tasks.faces import TRAINING_PHOTOS, FacesTask, PhotoSet

#: Environment variable that names the file with the photos.
FILE_VARIABLE = "RERAM_FLEET_YALE_B"
FILE = "extended_yale_b_32x32.mat"
PEOPLE = 38
#: Side of a photo in the file, in pixels; half of that of a task of faces.
SIDE = 32


@cache
def _photos(file: str | None) -> tuple[np.ndarray, ...]:
    """Return all photos by person, float32 [photos, 64, 64] each, read-only."""
    if not file:
        raise TaskError(
            f"the photos of Extended Yale B are not here: set {DATA_VARIABLE} to a folder that has {FILE}, or "
            f"{FILE_VARIABLE} to that file (arrays `features`, uint8 [1024, photos], and `Label`)"
        )
    pixels, person = _content(Path(file))
    people = []
    for index in np.unique(person):
        photos = doubled(pixels[person == index]).astype(np.float32) / np.float32(255)
        photos.setflags(write=False)
        people.append(photos)
    return tuple(people)


def _content(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos of a file, uint8 [photos, 32, 32], and whose each is."""
    from scipy.io import loadmat

    try:
        content = loadmat(file)
        features, person = content["features"], content["Label"].ravel()
    except (OSError, ValueError, KeyError) as error:
        raise TaskError(
            f"cannot read the photos of Extended Yale B from {file} ({error}): {FILE_VARIABLE} names a MATLAB file "
            "with the arrays `features` and `Label`"
        ) from error
    found, counts = np.unique(person, return_counts=True)
    if features.dtype != np.uint8 or features.shape != (SIDE * SIDE, len(person)):
        raise TaskError(
            f"{file} has photos of {features.dtype} {list(features.shape)}, expected uint8 "
            f"[{SIDE * SIDE}, {len(person)}] for {len(person)} labels"
        )
    if len(found) != PEOPLE or counts.min() <= TRAINING_PHOTOS:
        raise TaskError(
            f"{file} has {len(found)} people with {counts.min()} photos or more, expected {PEOPLE} with more than "
            f"{TRAINING_PHOTOS}"
        )
    # Columns of a photo come one after the other.
    return features.T.reshape(-1, SIDE, SIDE).transpose(0, 2, 1), person


def doubled(photos: np.ndarray) -> np.ndarray:
    """Return photos of twice the side, each pixel of which is between four: uint8 [B, s, s] to [B, 2 s, 2 s].

    Bilinear, with the weights 9, 3, 3 and 1 in sixteenths, half-way cases up: integers throughout.
    """
    whole = photos.astype(np.int64)
    for axis in (1, 2):
        edge = np.concatenate([whole.take([0], axis), whole, whole.take([-1], axis)], axis)
        before, after = (np.delete(edge, gone, axis) for gone in ([-1, -2], [0, 1]))
        both = np.stack([3 * whole + before, 3 * whole + after], axis + 1)
        whole = both.reshape(*whole.shape[:axis], -1, *whole.shape[axis + 1 :])
    return ((whole + 8) >> 4).astype(np.uint8)


def yale_b_photos() -> Sequence[np.ndarray]:
    """Return all photos by person, float32 [photos, 64, 64] each, read-only; `TaskError` if they are not here."""
    return _photos(data_source(FILE_VARIABLE, FILE))


#: 10 public people, 18 enrolled, 10 strangers who are held out of everything.
YALE_B = PhotoSet("faces-yale-b", "y", 10, 18, 10, yale_b_photos)
#: The split of the demo.
FACES_YALE_B = FacesTask.of(1, YALE_B)
