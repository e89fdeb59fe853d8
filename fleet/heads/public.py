"""Codes of the public people: negatives of the head, and what its threshold is fixed with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fleet.heads.errors import StatisticsError
from fleet.heads.statistics import HeadStatistics

#: Vectors of one person that a threshold can be fixed with: its cost grows with their cube.
MAX_VECTORS_PER_PERSON = 1024


@dataclass(frozen=True, eq=False)
class PublicCodes:
    """Codes of the public samples on the chips of some nodes. Public: may be kept and sent as they are.

    A few nodes say enough of how chips differ; in a large fleet the others need not send theirs.
    """

    #: int32 [nodes, samples, features], each node's centred on its own public mean, nodes in order of id.
    codes: npt.NDArray[np.int32]
    #: int64 [samples]: whose sample it is.
    person: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.codes.ndim != 3 or self.codes.dtype != np.int32 or 0 in self.codes.shape:
            raise StatisticsError(
                "public codes are int32 [nodes, samples, features], none of them zero; got "
                f"{self.codes.dtype} {list(self.codes.shape)}"
            )
        if self.person.shape != self.codes.shape[1:2]:
            raise StatisticsError(
                f"{self.codes.shape[1]} public samples need as many people's numbers; got {list(self.person.shape)}"
            )
        people, samples = np.unique(self.person, return_counts=True)
        if len(people) < 3 or samples.min() < 2:
            raise StatisticsError(
                f"a head needs three public people with two samples each; got {samples.tolist()} samples"
            )
        if samples.max() * len(self.codes) > MAX_VECTORS_PER_PERSON:
            raise StatisticsError(
                f"{len(self.codes)} nodes with {samples.max()} public samples of one person are more than "
                f"{MAX_VECTORS_PER_PERSON} vectors: take the public codes of fewer nodes"
            )

    @property
    def features(self) -> int:
        """Length d of a feature vector."""
        return int(self.codes.shape[2])

    @cached_property
    def statistics(self) -> HeadStatistics:
        """Of all samples on all nodes."""
        return HeadStatistics.of(self.codes.reshape(-1, self.features))
