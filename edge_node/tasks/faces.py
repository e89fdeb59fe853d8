"""Task `faces`: forty real people, ten photos each (Olivetti, AT&T Laboratories Cambridge).

F. Samaria, A. Harter, "Parameterisation of a stochastic model for human face identification", WACV 1994. The photos are
not ours to ship: they are read from the file that scikit-learn caches (`olivetti_py3.pkz`), in the folder that
`RERAM_FLEET_FACES` or `RERAM_FLEET_DATA` names, or in scikit-learn's own data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import numpy as np
import torch
from reram_fleet.code_ranges import FACES_64 as FACES_64_CODES
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.backbones import Backbone, rounded_mean
from edge_node.backbones.filters import COARSE, FINE, FilterBank, FilterLayout
from edge_node.backbones.small_layer import SmallLayer
from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from edge_node.tasks.data_folder import DATA_VARIABLE, data_source
from hwmodel import DeviceModels, EnergyLedger, Phase, Preset, keyed_uint16

#: Environment variable that names the folder with the photos.
FOLDER_VARIABLE = "RERAM_FLEET_FACES"
#: The file that scikit-learn keeps them in.
CACHE_FILE = "olivetti_py3.pkz"
PEOPLE = 40
PHOTOS = 10
#: Photos of each person to learn from; the others test.
TRAINING_PHOTOS = 5


@cache
def _photos(folder: str | None) -> np.ndarray:
    """Return all photos, float32 [40, 10, 64, 64], read-only."""
    from sklearn.datasets import fetch_olivetti_faces  # type: ignore[import-untyped]

    try:
        bunch = fetch_olivetti_faces(data_home=folder, download_if_missing=False)
    except OSError as error:
        raise TaskError(
            f"the Olivetti photos are not in {folder or 'the data folder of scikit-learn'} ({error}): set "
            f"{FOLDER_VARIABLE} or {DATA_VARIABLE} to a folder that has {CACHE_FILE}, or let scikit-learn "
            'download it with `python -c "from sklearn.datasets import fetch_olivetti_faces as f; f()"`'
        ) from error
    if bunch.images.shape != (PEOPLE * PHOTOS, 64, 64):
        raise TaskError(f"the Olivetti photos have shape {list(bunch.images.shape)}, expected [400, 64, 64]")
    order = np.argsort(bunch.target, kind="stable")
    photos: np.ndarray = bunch.images[order].astype(np.float32).reshape(PEOPLE, PHOTOS, 64, 64)
    photos.setflags(write=False)
    return photos


def photos_folder() -> str | None:
    """Return the folder that is named for the photos, or None for scikit-learn's own."""
    return data_source(FOLDER_VARIABLE, CACHE_FILE, inside=False)


def olivetti_photos(folder: str | None = None) -> np.ndarray:
    """Return all photos by person, float32 [40, 10, 64, 64], read-only; out of `photos_folder` if None is given.

    `TaskError` if they are not here.
    """
    return _photos(folder or photos_folder())


@dataclass(frozen=True)
class PhotoSet:
    """Photos of real people, and how many of these get which role.

    Attributes
    ----------
    task
        Name of the task; draws are keyed by it.
    prefix
        Of the people's names.
    public, enrolled, strangers
        How many people there are of each role.
    read
        Returns all photos by person, float32 [photos, 64, 64] each; `TaskError` if they are not here.
    """

    task: str
    prefix: str
    public: int
    enrolled: int
    strangers: int
    read: Callable[[], Iterable[np.ndarray]]

    @property
    def names(self) -> list[str]:
        """Names of all people, in the order of `read`."""
        return [f"{self.prefix}{index:02d}" for index in range(self.public + self.enrolled + self.strangers)]

    def split(self, seed: int) -> Split:
        """Return the roles that a seed draws."""
        names = self.names
        draws = keyed_uint16(seed, f"{self.task}.roles", count=len(names)).numpy()
        drawn = tuple(names[index] for index in np.argsort(draws, kind="stable"))
        known = self.public + self.enrolled
        return Split(public=drawn[: self.public], enrolled=drawn[self.public : known], strangers=drawn[known:])

    def people(self, seed: int, names: Sequence[str]) -> dict[str, Person]:
        """Return some people, with those photos to learn from that a seed draws."""
        everybody = dict(zip(self.names, self.read(), strict=True))
        people = {}
        for name in names:
            photos = everybody[name]
            draws = keyed_uint16(seed, f"{self.task}.photos", name, count=len(photos)).numpy()
            mine = photos[np.argsort(draws, kind="stable")]
            people[name] = Person(name, tuple(mine[:TRAINING_PHOTOS]), tuple(mine[TRAINING_PHOTOS:]))
        return people


#: 10 public people, 20 enrolled, 10 strangers who are held out of everything.
OLIVETTI = PhotoSet("faces", "f", 10, 20, 10, olivetti_photos)


@dataclass(frozen=True)
class FacesTask:
    """A task of faces as the engine sees it."""

    split: Split
    #: Of the split and of which photos train.
    seed: int
    #: Of the filters.
    layout: FilterLayout = FINE
    photos: PhotoSet = OLIVETTI

    @classmethod
    def of(cls, seed: int, photos: PhotoSet = OLIVETTI) -> FacesTask:
        """Return the task with the roles that a seed draws."""
        return cls(photos.split(seed), seed, photos=photos)

    @property
    def name(self) -> str:
        """Name on the command line and in GetStatus."""
        return self.photos.task

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that another seed draws."""
        return replace(self, split=self.photos.split(seed), seed=seed)

    def load_people(self) -> Mapping[str, Person]:
        """Return everybody, by name."""
        return self.photos.people(self.seed, self.photos.names)

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return all photos of the public people: nobody is tested on them."""
        public = self.photos.people(self.seed, self.split.public)
        return {name: (*p.train, *p.test) for name, p in public.items()}

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the Gabor filters into every node's crossbars."""
        return FilterBank.program(preset, fleet_seed, node_ids, ledger, layout=self.layout)


@dataclass(frozen=True)
class SmallFacesTask(FacesTask):
    """The same people on chips whose last layer has 64 columns: there a LoRA is worth having (docs/adr/0028)."""

    layout: FilterLayout = COARSE

    @property
    def name(self) -> str:
        """Name on the command line and in GetStatus."""
        return f"{self.photos.task}-64"

    @property
    def stage(self) -> LoraStage:
        """What the codes are of."""
        stage = FACES_64_CODES.stage
        assert stage is not None
        return stage

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the Gabor filters and the small layer into every node's crossbars."""
        front = FilterBank.program(preset, fleet_seed, node_ids, ledger, layout=self.layout)
        return SmallLayer.program(front, self.stage, self._centre(preset), preset, fleet_seed, node_ids, ledger)

    def _centre(self, preset: Preset) -> Tensor:
        """Return mean feature codes of the public people's photos on a flawless chip, int32: a constant of the task."""
        public = [photo for _, photos in sorted(self.public_samples().items()) for photo in photos]
        unpaid = EnergyLedger(1)
        flawless = FilterBank.program(preset, 0, ["flawless"], unpaid, DeviceModels.ideal(), self.layout)
        codes = flawless.capture(public, unpaid, Phase.INFER)[0]
        return rounded_mean(codes.sum(dim=0), len(codes)).to(torch.int32)


#: The split of the demo.
FACES = FacesTask.of(1)
FACES_64 = SmallFacesTask.of(1)
