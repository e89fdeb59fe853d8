"""Tasks `speakers-4`, `speakers-8`, `speakers-16`: the nine speakers on chips with a reservoir of so many units.

There a LoRA beside both layers of the reservoir is worth having (docs/adr/0028).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from reram_fleet.code_ranges import SPEAKERS_4 as SPEAKERS_4_CODES
from reram_fleet.code_ranges import SPEAKERS_8 as SPEAKERS_8_CODES
from reram_fleet.code_ranges import SPEAKERS_16 as SPEAKERS_16_CODES
from reram_fleet.code_ranges import CodeRange, LoraStage

from edge_node.backbones.coding import InputCoding
from edge_node.backbones.small_reservoir import SmallReservoir
from edge_node.tasks import Person, Split
from edge_node.tasks.speakers import NAMES, SPEAKERS, load_people
from hwmodel import EnergyLedger, Preset, keyed_uint16


@dataclass(frozen=True)
class SmallSpeakersTask:
    """The task as the engine sees it."""

    split: Split
    stage: LoraStage

    @classmethod
    def of(cls, codes: CodeRange) -> Self:
        """Return the task of a code range, with the roles that people have in `speakers`."""
        assert codes.stage is not None
        return cls(SPEAKERS.split, codes.stage)

    @property
    def name(self) -> str:
        """Name on the command line and in GetStatus."""
        return f"speakers-{self.stage.neurons}"

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that a seed draws: three public people, four enrolled, two strangers."""
        draws = keyed_uint16(seed, "speakers.roles", count=len(NAMES)).numpy()
        drawn = tuple(NAMES[index] for index in np.argsort(draws, kind="stable"))
        return replace(self, split=Split(public=drawn[:3], enrolled=drawn[3:7], strangers=drawn[7:]))

    @property
    def coding(self) -> InputCoding:
        """How a sample becomes the codes of the reservoir's input: it has a frame in every segment."""
        return replace(SPEAKERS.coding, min_frames=self.stage.segments)

    def load_people(self) -> Mapping[str, Person]:
        """Return all nine people, by name."""
        return load_people()

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the training samples of the public people."""
        return {name: person.train for name, person in load_people(self.split.public).items()}

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> SmallReservoir:
        """Program the small reservoir into every node's crossbars."""
        return SmallReservoir.program(self.coding, self.stage, preset, fleet_seed, node_ids, ledger)


SPEAKERS_4, SPEAKERS_8, SPEAKERS_16 = map(SmallSpeakersTask.of, (SPEAKERS_4_CODES, SPEAKERS_8_CODES, SPEAKERS_16_CODES))
