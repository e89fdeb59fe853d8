"""Start rows of a cohort: the closed form of its own people, exactly rounded.

A shard must not know who is in the others, so each has a ridge solution of its own: over the people who are in it when
somebody enters, and public negatives. It is `fleet.heads`' certified solver on the hidden layer's codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fleet.heads.enrolment import RIDGE_PERCENT, SCALE_BITS
from fleet.heads.solve import solve_rounded
from fleet.heads.statistics import HeadStatistics, total
from fleet.lab.replay.cohort_state import start_row
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.hidden_layer import PairCodes


class RidgeStarts:
    """Start rows from the captured codes of all nodes: a `fleet.lab.replay.cohort.StartRows`.

    Only codes of the people asked about are looked at; `gain` is the recipe's.
    """

    def __init__(self, nodes: Sequence[NodeSamples], gain: int) -> None:
        self._nodes, self._gain = tuple(nodes), gain

    def __call__(self, known: tuple[str, ...], entering: tuple[str, ...]) -> Mapping[str, Tensor]:
        """Return the rows of those who enter a cohort in which everybody `known` is."""
        people = {tag: self._statistics(tag) for tag in known}
        together = total([self._public, *people.values()], self._public.features)
        ridge = max(1, RIDGE_PERCENT * int(together.gram.trace()) // (100 * together.features))
        targets = np.stack([people[tag].code_sum for tag in entering], axis=1)
        columns = solve_rounded(together.gram, targets, ridge, SCALE_BITS)
        return {tag: start_row(columns[:, k], SCALE_BITS, self._gain) for k, tag in enumerate(entering)}

    def _statistics(self, tag: str) -> HeadStatistics:
        parts = [hidden_codes(n.people[tag], n.centre) for n in self._nodes if tag in n.people]
        return HeadStatistics.of(np.concatenate(parts))

    @cached_property
    def _public(self) -> HeadStatistics:
        return HeadStatistics.of(np.concatenate([hidden_codes(n.public, n.centre) for n in self._nodes]))


def hidden_codes(pairs: PairCodes, centre: Tensor) -> npt.NDArray[np.int32]:
    """Return ``max(y, 0) - centre`` of samples, int32 [samples, hidden]: what an untrained head reads."""
    codes: npt.NDArray[np.int32] = (pairs.drives.clamp(min=0) - centre).numpy()
    return codes
