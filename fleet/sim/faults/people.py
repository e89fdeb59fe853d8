"""People of a history, and what its owners and operators ask for: repeated until it is acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded

from fleet.sim.people import MadeUpPeople
from hwmodel import keyed_seed

#: Samples of a person that one node captures.
SAMPLES = 3


@dataclass
class FaultyPeople:
    """People who are enrolled, and whose forget was acknowledged."""

    seed: int
    subjects: MadeUpPeople = field(init=False)
    #: Numbers of the people, by tag.
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subjects = MadeUpPeople(self.seed, SAMPLES)

    def tag(self, person: int) -> str:
        """Return the tag of a person: the same whoever else there is."""
        tag = new_tag(seeded(keyed_seed(self.seed, "faults.tag", person)).draw)
        self.numbers[tag] = person
        return tag

    def asked(self, tag: str, count: int = 1) -> Sequence[np.ndarray]:
        """Return samples of a person, to ask a node with; of several, one may be unlike."""
        return self.subjects.asked(self.numbers[tag])[:count]
