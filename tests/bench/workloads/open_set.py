"""Rates of telling known people from strangers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OpenSetRates:
    """Shares of 1.

    Attributes
    ----------
    auroc
        Chance that a known person's sample scores above a stranger's; a tie counts half.
    false_rejects, false_accepts
        At the threshold that was fixed beforehand: known people's samples rejected, strangers' accepted.
    false_accepts_at_5_percent
        At the threshold that rejects 5 % of these very samples: what separation alone would allow.
    """

    auroc: float
    false_rejects: float
    false_accepts: float
    false_accepts_at_5_percent: float


def open_set_rates(known: npt.ArrayLike, strangers: npt.ArrayLike, threshold: float) -> OpenSetRates:
    """Return the rates for best scores of samples; a score that reaches the threshold is accepted.

    Raises
    ------
    ValueError
        If there are no samples of either kind.
    """
    genuine, impostor = _sorted(known), _sorted(strangers)
    hindsight = float(np.quantile(genuine, 0.05))
    return OpenSetRates(
        auroc=auroc(genuine, impostor),
        false_rejects=float((genuine < threshold).mean()),
        false_accepts=float((impostor >= threshold).mean()),
        false_accepts_at_5_percent=float((impostor >= hindsight).mean()),
    )


def auroc(known: npt.ArrayLike, strangers: npt.ArrayLike) -> float:
    """Return the area under the ROC curve: Mann and Whitney's U over the number of pairs."""
    genuine, impostor = _sorted(known), _sorted(strangers)
    below = np.searchsorted(impostor, genuine, side="left")
    not_above = np.searchsorted(impostor, genuine, side="right")
    return float((below + not_above).mean() / 2 / impostor.size)


def _sorted(scores: npt.ArrayLike) -> Real:
    flat = np.sort(np.asarray(scores, dtype=np.float64), axis=None)
    if not flat.size:
        raise ValueError("there are no samples: rates need known people's and strangers'")
    return flat
