"""Plain baselines of recognising faces: ridge on pixels, PCA with LDA, and the nearest neighbour.

They know what a head knows: the enrolled people's photos to learn from, and all photos of the public people. Each gives
an enrolled person and a score, whatever the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA  # type: ignore[import-untyped]
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # type: ignore[import-untyped]
from sklearn.linear_model import Ridge  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]

from edge_node.tasks import Split
from edge_node.tasks.faces import PhotoSet
from tests.bench.workloads.head_answers import HeadAnswer

#: Components that are kept of the photos before the discriminants.
COMPONENTS = 100
#: Ridge in hundredths of a pixel's mean variance: as the head's.
RIDGE_PERCENT = 3

Real = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PixelSplit:
    """Photos of one split as pixels, float64 [photos, 1024]: means of two by two, all of one photo less its mean."""

    #: Enrolled people, sorted.
    names: tuple[str, ...]
    #: What is learnt from: photos, and the place of each one's person among `names`; below 0 of public people.
    taught: Real
    person: npt.NDArray[np.int64]
    #: Other photos of the enrolled people, whose each is, and the strangers' photos.
    asked: Real
    truth: tuple[str, ...]
    strangers: Real

    @classmethod
    def of(cls, photos: PhotoSet, seed: int) -> PixelSplit:
        """Return the photos of a seed."""
        split: Split = photos.split(seed)
        people, names = photos.people(seed, photos.names), tuple(sorted(split.enrolled))

        def both(name: str) -> Sequence[np.ndarray]:
            return (*people[name].train, *people[name].test)

        enrolled = [(photo, place) for place, name in enumerate(names) for photo in people[name].train]
        public = [(photo, -1 - index) for index, name in enumerate(split.public) for photo in both(name)]
        taught, person = zip(*enrolled, *public, strict=True)
        return cls(
            names,
            _pixels(taught),
            np.array(person),
            _pixels([photo for name in names for photo in people[name].test]),
            tuple(name for name in names for _ in people[name].test),
            _pixels([photo for name in split.strangers for photo in both(name)]),
        )

    def answers(self, scores: Callable[[Real], Real]) -> tuple[HeadAnswer, HeadAnswer]:
        """Return the answers to `asked` and to `strangers` of scores [photos, people], as those of one node."""
        known, strangers = scores(self.asked), scores(self.strangers)
        return self._answer(known), self._answer(strangers)

    def _answer(self, scores: Real) -> HeadAnswer:
        best = tuple(self.names[place] for place in scores.argmax(axis=1))
        return HeadAnswer((best,), torch.from_numpy(scores.max(axis=1))[None])


def _pixels(photos: Sequence[np.ndarray]) -> Real:
    side = photos[0].shape[0] // 2
    halved = np.stack(photos).astype(np.float64).reshape(-1, side, 2, side, 2).mean(axis=(2, 4)).reshape(-1, side**2)
    centred: Real = halved - halved.mean(axis=1, keepdims=True)
    return centred


def ridge_on_pixels(split: PixelSplit) -> Callable[[Real], Real]:
    """Return scores of a ridge classifier; public people are negatives."""
    targets = (split.person[:, None] == np.arange(len(split.names))).astype(np.float64)
    strength = RIDGE_PERCENT / 100 * len(split.taught) * float(split.taught.var(axis=0).mean())
    fitted = Ridge(alpha=strength).fit(split.taught, targets)

    def scores(photos: Real) -> Real:
        predicted: Real = fitted.predict(photos)
        return predicted

    return scores


def pca_and_lda(split: PixelSplit) -> Callable[[Real], Real]:
    """Return cosines with people's means among the discriminants of everybody who is known, public or enrolled."""
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=1e-3)
    space = make_pipeline(PCA(COMPONENTS, svd_solver="full"), lda).fit(split.taught, split.person)
    taught = space.transform(split.taught)
    means = np.stack([taught[split.person == place].mean(axis=0) for place in range(len(split.names))])

    def scores(photos: Real) -> Real:
        return _unit(space.transform(photos)) @ _unit(means).T

    return scores


def nearest_neighbour(split: PixelSplit) -> Callable[[Real], Real]:
    """Return the largest cosine with a person's photos; public people are not used."""
    enrolled = split.person >= 0

    def scores(photos: Real) -> Real:
        cosines = _unit(photos) @ _unit(split.taught[enrolled]).T
        return np.stack([cosines[:, split.person[enrolled] == p].max(axis=1) for p in range(len(split.names))], axis=1)

    return scores


def _unit(vectors: Real) -> Real:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Real = vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
    return unit


#: By name.
BASELINES: Mapping[str, Callable[[PixelSplit], Callable[[Real], Real]]] = {
    "ridge on pixels": ridge_on_pixels,
    "PCA and LDA": pca_and_lda,
    "nearest neighbour": nearest_neighbour,
}
