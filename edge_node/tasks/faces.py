"""Task `faces`: forty real people, ten photos each (Olivetti, AT&T Laboratories Cambridge).

F. Samaria, A. Harter, "Parameterisation of a stochastic model for human face identification", WACV 1994. The photos are
not ours to ship: they are read from the file that scikit-learn caches (`olivetti_py3.pkz`), in the folder that
`RERAM_FLEET_FACES` or `RERAM_FLEET_DATA` names, or in scikit-learn's own data folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Self

import numpy as np
from reram_fleet.code_ranges import FACES_64 as FACES_64_CODES
from reram_fleet.code_ranges import LoraStage

from edge_node.backbones import Backbone
from edge_node.backbones.filters import COARSE, FINE, FilterBank, FilterLayout
from edge_node.backbones.small_layer import SmallLayer
from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from edge_node.tasks.data_folder import DATA_VARIABLE, data_source
from hwmodel import EnergyLedger, Preset, keyed_uint16

#: Environment variable that names the folder with the photos.
FOLDER_VARIABLE = "RERAM_FLEET_FACES"
#: The file that scikit-learn keeps them in.
CACHE_FILE = "olivetti_py3.pkz"
PEOPLE = 40
PHOTOS = 10
#: Photos of each person to learn from; the others test.
TRAINING_PHOTOS = 5


def _name(index: int) -> str:
    return f"f{index:02d}"


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
class FacesTask:
    """The task as the engine sees it."""

    #: 10 public people, 20 enrolled, 10 strangers who are held out of everything.
    split: Split
    #: Of the split and of which photos train.
    seed: int
    #: Of the filters.
    layout: FilterLayout = FINE
    name: str = field(default="faces", init=False)

    @classmethod
    def of(cls, seed: int) -> FacesTask:
        """Return the task with the roles that a seed draws."""
        order = np.argsort(keyed_uint16(seed, "faces.roles", count=PEOPLE).numpy(), kind="stable").tolist()
        names = [_name(index) for index in order]
        return cls(Split(public=tuple(names[:10]), enrolled=tuple(names[10:30]), strangers=tuple(names[30:])), seed)

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that another seed draws."""
        return replace(self, split=FacesTask.of(seed).split, seed=seed)

    def load_people(self) -> Mapping[str, Person]:
        """Return all forty people, by name."""
        return self._load([_name(index) for index in range(PEOPLE)])

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return all photos of the public people: nobody is tested on them."""
        return {name: (*p.train, *p.test) for name, p in self._load(self.split.public).items()}

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the Gabor filters into every node's crossbars."""
        return FilterBank.program(preset, fleet_seed, node_ids, ledger, layout=self.layout)

    def _load(self, names: Sequence[str]) -> dict[str, Person]:
        photos = olivetti_photos()
        people = {}
        for name in names:
            draws = keyed_uint16(self.seed, "faces.photos", name, count=PHOTOS).numpy()
            order = np.argsort(draws, kind="stable")
            mine = photos[int(name[1:])][order]
            people[name] = Person(name, tuple(mine[:TRAINING_PHOTOS]), tuple(mine[TRAINING_PHOTOS:]))
        return people


@dataclass(frozen=True)
class SmallFacesTask(FacesTask):
    """The same people on chips whose last layer has 64 columns: there a LoRA is worth having (docs/adr/0028)."""

    layout: FilterLayout = COARSE
    name: str = field(default="faces-64", init=False)

    @property
    def stage(self) -> LoraStage:
        """What the codes are of."""
        stage = FACES_64_CODES.stage
        assert stage is not None
        return stage

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the Gabor filters and the small layer into every node's crossbars, and centre on public photos."""
        public = [photo for _, photos in sorted(self.public_samples().items()) for photo in photos]
        front = FilterBank.program(preset, fleet_seed, node_ids, ledger, layout=self.layout)
        return SmallLayer.program(front, self.stage, public, preset, fleet_seed, node_ids, ledger)


#: The split of the demo.
FACES = FacesTask.of(1)
FACES_64 = SmallFacesTask.of(1)
