"""Inputs of six people, divided into what is learnt from and what is tested on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import EngineError

#: People whom the backbone is trained on, and the label of the one who is learnt later.
KNOWN, NEWCOMER = 5, 5
CLASSES = KNOWN + 1


@dataclass(frozen=True, eq=False)
class DividedPeople:
    """Inputs of six people, divided into what is learnt from and what is tested on.

    Attributes
    ----------
    train, test
        Float ``[B, ...]``.
    train_labels, test_labels
        0 to 4, and `NEWCOMER`; int64 ``[B]``.
    train_sources, test_sources
        Which photo or recording each input was made from, int64 ``[B]``.

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
