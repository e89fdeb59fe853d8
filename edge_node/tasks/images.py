"""Task `images`: pictures of things, which the project draws itself; the subjects are classes.

Ten things in four styles, in colour (`edge_node.tasks.pictures`). A "person" of this task is a class, a thing: public
ones train the backbone, enrolled ones (private) are learnt on the devices. Styles are public: the backbone has seen all
of them, on public things.

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

from edge_node.errors import TaskError
from edge_node.generation.class_fit import ClassRecipe, GenerationRecipe
from edge_node.generation.diffusion import COLOUR_LEVELS, Sampling
from edge_node.generation.dit import CHANNELS, IMAGE_SIDE
from edge_node.generation.eraser import EraserRecipe
from edge_node.generation.image_generator import task_backbone
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import BackboneRecipe, Progress
from edge_node.tasks import Person, Split
from edge_node.tasks.pictures import STYLES, THINGS, draw_pictures
from hwmodel import keyed_uint16

#: Classes that are held out of the backbone.
PRIVATE_CLASSES = 3
#: Share of each class's images that test: they train nothing, neither the backbone nor the judge.
TEST_SHARE = 0.3
#: Pictures of each class in each style.
PICTURES = 120
#: Names of the classes, by label.
CLASS_NAMES = THINGS


@cache
def _drawn(label: int) -> np.ndarray:
    """Return all pictures of a class, style after style: colour levels, uint8 [styles, pictures, 24, 24, 3]."""
    levels = np.stack([draw_pictures(label, style, PICTURES) for style in range(len(STYLES))])
    levels.setflags(write=False)
    return levels


#: So few steps that what is generated is of no use.
_BRIEF = GenerationRecipe(
    BackboneRecipe(steps=40, hardening_steps=10, batch=16, learning_rate=8e-3, hardening_rate=2e-3, warm_up=5, ema=0.9),
    ClassRecipe(rank=4, steps=6),
    EraserRecipe(steps=3, batch=4),
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
        order = np.argsort(keyed_uint16(seed, "images.roles", count=len(THINGS)).numpy(), kind="stable").tolist()
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
            raise TaskError(f"there is no class {name!r}; the set has {', '.join(CLASS_NAMES)}")
        return CLASS_NAMES.index(name)

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles: of each, every class has as many pictures."""
        return STYLES

    def style(self, name: str) -> int:
        """Return the style of a name, or the one that says nothing for ``""``; `TaskError` if there is none."""
        if name and name not in STYLES:
            raise TaskError(f"there is no style {name!r}; the set has {', '.join(STYLES)}")
        return STYLES.index(name) if name else len(STYLES)

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
        if not labels or not set(labels) <= set(range(len(THINGS))):
            raise TaskError(f"classes are 0 to {len(THINGS) - 1}; got {sorted(labels)}")
        chosen = sorted(set(labels))
        parts = torch.from_numpy(np.stack([self._part(label, test) for label in chosen]))
        own, styles = torch.tensor(chosen).view(-1, 1, 1), torch.arange(len(STYLES)).view(1, -1, 1)
        return LabelledImages(
            parts.flatten(0, 2), own.expand(parts.shape[:3]).flatten(), styles.expand(parts.shape[:3]).flatten()
        )

    def load_people(self) -> Mapping[str, Person]:
        """Return every class as a person, by name: float32 ``[24, 72]`` of 0 to 1, a pixel's colours side by side."""
        return self._people([*self.split.public, *self.split.enrolled])

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the training images of public classes."""
        return {name: person.train for name, person in self._people(self.split.public).items()}

    def _people(self, names: Sequence[str]) -> dict[str, Person]:
        def samples(name: str, test: bool) -> tuple[np.ndarray, ...]:
            levels = self._part(self.label(name), test)
            # Styles take turns, two pictures each: the first few samples have all of them, and so has every other one.
            turns = levels.reshape(len(STYLES), -1, 2, IMAGE_SIDE, IMAGE_SIDE * CHANNELS).swapaxes(0, 1)
            return tuple(turns.reshape(-1, IMAGE_SIDE, IMAGE_SIDE * CHANNELS) / np.float32(COLOUR_LEVELS))

        return {name: Person(name, samples(name, False), samples(name, True)) for name in sorted(names)}

    def _part(self, label: int, test: bool) -> np.ndarray:
        """Return the training or the test images of a class, uint8 [styles, images, 24, 24, 3]."""
        draws = keyed_uint16(self.seed, "images.test", label, count=PICTURES).numpy()
        order = np.argsort(draws, kind="stable")
        held_out = round(TEST_SHARE * PICTURES)
        return _drawn(label)[:, order[:held_out] if test else order[held_out:]]


#: The roles of the demo.
IMAGES = ImagesTask.of(1)
IMAGES_BRIEF = replace(IMAGES, name="images-brief", recipe=_BRIEF)
