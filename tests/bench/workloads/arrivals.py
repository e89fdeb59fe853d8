"""Arrivals and departures by wave, and what a learner knows after each wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from hwmodel import keyed_uint16

#: Waves of a fleet of at least twice as many people; of a smaller one.
WAVES, FEW_WAVES = 4, 3


@dataclass(frozen=True)
class Arrivals:
    """Names by the wave that they arrive in, and who is forgotten before the last one.

    At most one person of each wave but the last leaves; every wave keeps somebody.
    """

    waves: tuple[tuple[str, ...], ...]
    leaving: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], seed: int) -> Arrivals:
        """Deal people into waves at random; who is left over comes with the first."""
        draws = keyed_uint16(seed, "continual.order", count=len(names)).numpy()
        order = [names[i] for i in np.argsort(draws, kind="stable")]
        count = WAVES if len(names) >= 2 * WAVES else FEW_WAVES
        size = len(names) // count
        first = len(names) - (count - 1) * size
        starts = [0, *range(first, len(names), size)]
        waves = tuple(tuple(order[a:b]) for a, b in zip(starts, [*starts[1:], len(names)], strict=True))
        return cls(waves, tuple(wave[0] for wave in waves[:-1] if len(wave) > 1))

    def stay(self, wave: int) -> tuple[str, ...]:
        """Return who of a wave is never forgotten."""
        return tuple(name for name in self.waves[wave] if name not in self.leaving)

    @property
    def staying(self) -> tuple[str, ...]:
        """Everybody who is never forgotten."""
        return tuple(name for wave in range(len(self.waves)) for name in self.stay(wave))

    def accuracies(self, truth: Sequence[str], best_tag: Sequence[Sequence[str]], waves: int) -> tuple[float, ...]:
        """Return for each of the first waves the share of samples of its people, but those who leave, named right.

        `truth` has whose each sample is, [B], and `best_tag` its best match on each node, [N][B].
        """
        found, whose = np.array(best_tag), np.array(truth)
        columns = [np.isin(whose, self.stay(wave)) for wave in range(waves)]
        return tuple(float((found[:, asked] == whose[asked]).mean()) for asked in columns)


@dataclass(frozen=True)
class Trajectory:
    """One learner over the waves."""

    learner: str
    #: ``accuracy[t][j]``: share of held-out samples of the people of wave j that are named right after wave t (t >= j),
    #: over all nodes. A last line follows after further rounds.
    accuracy: tuple[tuple[float, ...], ...]
    #: Mean over waves of the same recipe with everybody there from the start.
    joint: float

    @property
    def known_before(self) -> tuple[float, ...]:
        """After each wave but the first: accuracy on those who were known before it."""
        return tuple(fmean(line[:-1]) for line in self.accuracy[1:-1])

    @property
    def everybody(self) -> tuple[float, ...]:
        """After each wave, and at the end: accuracy on everybody who is known then."""
        return tuple(fmean(line) for line in self.accuracy)

    @property
    def forgetting(self) -> float:
        """Best accuracy that a wave ever had less its last one, mean over all waves but the newest.

        Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018, section 3.2. That there are more people
        to be taken for counts too.
        """
        earlier, last = self.accuracy[:-1], self.accuracy[-1]
        return fmean(max(line[j] for line in earlier if len(line) > j) - last[j] for j in range(len(last) - 1))
