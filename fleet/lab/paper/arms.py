"""Arms of the protocol, the hardware that they run on, and how the inputs of people are divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from edge_node.errors import EngineError
from hwmodel.crossbar import Fidelity

#: Takes what is being done, in words.
Progress = Callable[[str], None]

#: Technology of the simulated chips.
PRESET = "180nm-1t1r"
#: People whom the backbone is trained on, and the label of the one who is learnt later.
KNOWN, NEWCOMER = 5, 5
CLASSES = KNOWN + 1


class Arm(StrEnum):
    """Division of the data, or the training set of the backbone."""

    #: As the paper's code does it.
    PUBLISHED = "as published"
    #: Tested on what training never saw: other photos, other words, or a class that the backbone never saw.
    HONEST = "honest"


class Hardware(StrEnum):
    """Substrate of the frozen network."""

    #: Programmed cells of `PRESET` with their errors, 8-bit converters, tile by tile.
    CHIP = "chip"
    #: The weights as trained; inputs still have 8 bits.
    NOISE_FREE = "noise-free"

    @property
    def fidelity(self) -> Fidelity:
        """The level of detail that this takes."""
        return Fidelity.TILE_ACCURATE if self is Hardware.CHIP else Fidelity.IDEAL


def silent(what: str) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class DividedPeople:
    """Inputs of six people, float ``[B, ...]``, divided into what is learnt from and what is tested on.

    Labels are 0 to 4, and `NEWCOMER`; sources say which photo or recording each input was made from; int64 ``[B]``.

    Raises
    ------
    EngineError
        If one of the six has nothing to learn from or to be tested on: a share of nothing says nothing.
    """

    train: Tensor
    train_labels: Tensor
    train_sources: Tensor
    test: Tensor
    test_labels: Tensor
    test_sources: Tensor

    def __post_init__(self) -> None:
        for part, labels in (("learn from", self.train_labels), ("test on", self.test_labels)):
            if missing := sorted(set(range(CLASSES)) - set(labels.tolist())):
                raise EngineError(f"people {missing} have no inputs to {part}: divide more of them")

    @classmethod
    def by(cls, inputs: Tensor, labels: Tensor, sources: Tensor, tested: Tensor) -> DividedPeople:
        """Divide inputs by which of them, bool ``[B]``, are tested on."""
        kept = ~tested
        return cls(inputs[kept], labels[kept], sources[kept], inputs[tested], labels[tested], sources[tested])

    @property
    def leaked(self) -> float:
        """Share of the test inputs whose photo or recording was learnt from, too."""
        return float(torch.isin(self.test_sources, self.train_sources).double().mean())

    def training(self, *labels: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of these people to learn from."""
        mine = torch.isin(self.train_labels, torch.tensor(labels))
        return self.train[mine], self.train_labels[mine]

    def testing(self, *labels: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of these people to test on."""
        mine = torch.isin(self.test_labels, torch.tensor(labels))
        return self.test[mine], self.test_labels[mine]
