"""Task `images`: real handwritten digits, 8x8 pixels; the subjects are classes (scikit-learn, UCI).

E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998:
the 1,797 images that come inside scikit-learn, of grey levels 0 to 16.

A "person" of this task is a class: public ones train the backbone, enrolled ones (private) are learnt on the
devices. It has no `program`, since its backbone does not turn samples into feature codes: it draws, by way of
`edge_node.generation.image_generator`. There are no strangers: a class that is asked for and not known is the
never-enrolled case.

`images-brief` is the same with so few steps that it draws nothing of use: for trying out the machinery around
it in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from hwmodel import keyed_uint16

CLASSES = 10
GREY_LEVELS = 16
#: Classes that are held out of the backbone.
PRIVATE_CLASSES = 3
#: Share of each class's images that test: they train nothing, neither the backbone nor the judge.
TEST_SHARE = 0.3


@dataclass(frozen=True, eq=False, slots=True)
class LabelledImages:
    """Images of some classes.

    Attributes
    ----------
    levels
        Grey levels 0 to 16, uint8 ``[B, 8, 8]``.
    labels
        int64 ``[B]``.
    """

    levels: Tensor
    labels: Tensor

    def of(self, label: int) -> Tensor:
        """Return the images of one class, uint8 ``[b, 8, 8]``."""
        return self.levels[self.labels == label]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all digits, uint8 [1797, 8, 8], and their classes, int64 [1797]; read-only."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    if bunch.images.shape != (1797, 8, 8) or bunch.images.max() != GREY_LEVELS:
        raise TaskError(f"scikit-learn's digits have shape {list(bunch.images.shape)}, expected [1797, 8, 8]")
    levels, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
    levels.setflags(write=False)
    labels.setflags(write=False)
    return levels, labels


def class_name(label: int) -> str:
    """Return the name of a class: ``"d3"``."""
    return f"d{label}"


def class_label(name: str) -> int:
    """Return the class that a name is of.

    Raises
    ------
    TaskError
        If there is none.
    """
    names = [class_name(label) for label in range(CLASSES)]
    if name not in names:
        raise TaskError(f"there is no class {name!r}; the set has {names[0]} to {names[-1]}")
    return names.index(name)


@dataclass(frozen=True)
class ImagesTask:
    """Roles of the ten classes, and which images test.

    Attributes
    ----------
    split
        7 public classes, 3 enrolled ones, no strangers.
    seed
        Of both.
    """

    split: Split
    seed: int
    name: str = "images"

    @classmethod
    def of(cls, seed: int) -> ImagesTask:
        """Return the task with the roles that a seed draws."""
        order = np.argsort(keyed_uint16(seed, "images.roles", count=CLASSES).numpy(), kind="stable").tolist()
        private = sorted(order[:PRIVATE_CLASSES])
        public = sorted(order[PRIVATE_CLASSES:])
        split = Split(tuple(map(class_name, public)), tuple(map(class_name, private)), ())
        return cls(split, seed)

    @property
    def public(self) -> tuple[int, ...]:
        """Classes that the backbone is trained on."""
        return tuple(map(class_label, self.split.public))

    @property
    def private(self) -> tuple[int, ...]:
        """Classes that it never sees."""
        return tuple(map(class_label, self.split.enrolled))

    def images(self, labels: Collection[int], *, test: bool) -> LabelledImages:
        """Return the training or the test images of some classes, class after class; nobody else's.

        Raises
        ------
        TaskError
            If there is no such class.
        """
        if not labels or not set(labels) <= set(range(CLASSES)):
            raise TaskError(f"classes are 0 to {CLASSES - 1}; got {sorted(labels)}")
        parts = {label: self._part(label, test) for label in sorted(set(labels))}
        return LabelledImages(
            torch.cat(list(parts.values())),
            torch.cat([torch.full((len(part),), label) for label, part in parts.items()]),
        )

    def load_people(self) -> Mapping[str, Person]:
        """Return every class as a person, by name: float32 ``[8, 8]`` of 0 to 1."""
        return self._people([*self.split.public, *self.split.enrolled])

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the training images of public classes."""
        return {name: person.train for name, person in self._people(self.split.public).items()}

    def _people(self, names: Sequence[str]) -> dict[str, Person]:
        def samples(name: str, test: bool) -> tuple[np.ndarray, ...]:
            return tuple((self._part(class_label(name), test).to(torch.float32) / GREY_LEVELS).numpy())

        return {name: Person(name, samples(name, False), samples(name, True)) for name in sorted(names)}

    def _part(self, label: int, test: bool) -> Tensor:
        levels, labels = _digits()
        mine = np.flatnonzero(labels == label)
        draws = keyed_uint16(self.seed, "images.test", label, count=len(mine)).numpy()
        order = mine[np.argsort(draws, kind="stable")]
        held_out = round(TEST_SHARE * len(mine))
        return torch.from_numpy(levels[order[:held_out] if test else order[held_out:]])


#: The roles of the demo.
IMAGES = ImagesTask.of(1)
IMAGES_BRIEF = replace(IMAGES, name="images-brief")
