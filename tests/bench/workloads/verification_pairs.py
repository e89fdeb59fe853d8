"""Verification: is this sample of the person that it is claimed to be of?

A pair is a sample and somebody enrolled whom it claims to be; its score is that person's column. Genuine pairs claim
the truth; the others, of other enrolled people or of people who never were, are impostors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.lab.verification.metrics import equal_error_rate

Real = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VerificationPairs:
    """Scores of genuine and of impostor pairs, float64, sorted; made by `of`, from samples of known people."""

    #: At least one of each.
    genuine: Real
    impostor: Real

    def __post_init__(self) -> None:
        if not self.genuine.size or not self.impostor.size:
            raise ValueError(
                f"rates need pairs of both kinds; got {self.genuine.size} genuine and {self.impostor.size} "
                "impostor pairs"
            )

    @classmethod
    def of(
        cls, scores: npt.ArrayLike, claimed: npt.ArrayLike, others: npt.ArrayLike | None = None
    ) -> VerificationPairs:
        """Return every pair of samples and enrolled people.

        `ValueError` if shapes do not fit, or there are no pairs of a kind.

        Parameters
        ----------
        scores
            ``[B, K]``: of each sample for each enrolled person.
        claimed
            int ``[B]``: the column that is the truth.
        others
            ``[C, K]`` scores of samples of people who are not enrolled: then all impostors are theirs.
        """
        known, columns = np.asarray(scores, dtype=np.float64), np.asarray(claimed)
        if known.ndim != 2 or columns.shape != known.shape[:1]:
            raise ValueError(f"need scores [B, K] and the truth [B]; got {known.shape} and {columns.shape}")
        truth = np.arange(known.shape[1]) == columns[:, None]
        impostor = known[~truth] if others is None else np.asarray(others, dtype=np.float64)
        return cls(np.sort(known[truth]), np.sort(impostor, axis=None))

    def false_rejects(self, threshold: float) -> float:
        """Return the share of genuine pairs below a threshold."""
        return float(np.searchsorted(self.genuine, threshold, side="left")) / self.genuine.size

    def false_accepts(self, threshold: float) -> float:
        """Return the share of impostor pairs that reach a threshold."""
        return 1 - float(np.searchsorted(self.impostor, threshold, side="left")) / self.impostor.size

    def equal_error_rate(self) -> float:
        """Return the rate at which false rejects equal false accepts."""
        return equal_error_rate(self.genuine, self.impostor)


def threshold_rejecting(genuine: npt.ArrayLike, share: float) -> float:
    """Return the largest observed score that rejects at most a share of genuine scores.

    `ValueError` if there are no scores.
    """
    ordered = np.sort(np.asarray(genuine, dtype=np.float64), axis=None)
    if not ordered.size:
        raise ValueError("a threshold needs genuine scores")
    return float(ordered[math.floor(share * ordered.size)])
