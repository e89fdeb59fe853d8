"""Task `images`: real handwritten digits, 8x8 pixels; the subjects are classes (scikit-learn, UCI).

E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998: the 1,797
images that come inside scikit-learn, of grey levels 0 to 16.

A "person" of this task is a class: public ones train the backbone, enrolled ones (private) are learnt on the devices.
It has no `program`, since its backbone does not turn samples into feature codes: it generates, by way of
`edge_node.generation.image_generator`. There are no strangers: a class that is asked for and not known is the
never-enrolled case.

`images-brief` is the same with so few steps that it generates nothing of use: for trying out the machinery around it in
seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import TaskError
from edge_node.generation.class_fit import ClassRecipe, GenerationRecipe
from edge_node.generation.diffusion import GREY_LEVELS, Sampling
from edge_node.generation.dit import CLASSES
from edge_node.generation.image_generator import task_backbone
from edge_node.generation.training import BackboneRecipe, Progress
from edge_node.tasks import LabelledImages, Person, Split
from hwmodel import keyed_uint16

#: Classes that are held out of the backbone.
PRIVATE_CLASSES = 3
#: Share of each class's images that test: they train nothing, neither the backbone nor the judge.
TEST_SHARE = 0.3


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all digits, uint8 [1797, 8, 8], and their classes, int64 [1797]; read-only."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    if bunch.images.shape != (1797, 8, 8) or bunch.images.max() != GREY_LEVELS:
        raise TaskError(f"scikit-learn's digits have shape {list(bunch.images.shape)}, expected [1797, 8, 8]")
    levels, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
    levels.setflags(write=False)
    labels.setflags(write=False)
    return levels, labels


#: Names of the classes, by label.
CLASS_NAMES = tuple(f"d{label}" for label in range(CLASSES))

#: So few steps that what is generated is of no use.
_BRIEF = GenerationRecipe(
    BackboneRecipe(steps=40, hardening_steps=10, batch=16, learning_rate=8e-3, hardening_rate=2e-3, warm_up=5, ema=0.9),
    ClassRecipe(rank=4, steps=6),
    Sampling(steps=4),
)


@dataclass(frozen=True)
class ImagesTask:
    """Roles of the ten classes, and which images test."""

    #: 7 public classes, 3 enrolled ones, no strangers.
    split: Split
    #: Of both.
    seed: int
    name: str = "images"
    #: How the backbone is trained, classes are learnt, and images are generated.
    recipe: GenerationRecipe = field(default_factory=GenerationRecipe)

    @classmethod
    def of(cls, seed: int) -> ImagesTask:
        """Return the task with the roles that a seed draws."""
        order = np.argsort(keyed_uint16(seed, "images.roles", count=CLASSES).numpy(), kind="stable").tolist()
        private = sorted(order[:PRIVATE_CLASSES])
        public = sorted(order[PRIVATE_CLASSES:])
        split = Split(tuple(CLASS_NAMES[k] for k in public), tuple(CLASS_NAMES[k] for k in private), ())
        return cls(split, seed)

    @property
    def public(self) -> tuple[int, ...]:
        """Classes that the backbone is trained on."""
        return tuple(map(self.label, self.split.public))

    @property
    def private(self) -> tuple[int, ...]:
        """Classes that it never sees."""
        return tuple(map(self.label, self.split.enrolled))

    def label(self, name: str) -> int:
        """Return the class that a name is of; `TaskError` if there is none."""
        if name not in CLASS_NAMES:
            raise TaskError(f"there is no class {name!r}; the set has {CLASS_NAMES[0]} to {CLASS_NAMES[-1]}")
        return CLASS_NAMES.index(name)

    def prepare(self, progress: Progress) -> None:
        """Train the backbone on the public classes, once for all nodes of a machine."""
        task_backbone(self, progress)

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that another seed draws."""
        return replace(self, split=ImagesTask.of(seed).split, seed=seed)

    def images(self, labels: Collection[int], *, test: bool) -> LabelledImages:
        """Return the training or the test images of some classes, class after class; nobody else's.

        `TaskError` if there is no such class.
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
            return tuple((self._part(self.label(name), test).to(torch.float32) / GREY_LEVELS).numpy())

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
IMAGES_BRIEF = replace(IMAGES, name="images-brief", recipe=_BRIEF)
