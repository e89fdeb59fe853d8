"""Calibration of a chip's scores from public samples: centre, whitening and the threshold of acceptance.

All of it depends on public people only, so enrolling or forgetting somebody moves none of it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.backbones import rounded_mean
from edge_node.errors import EngineError
from edge_node.recognition.whitening import Whitening

#: The rule: the threshold rejects this share of the public people's own samples when each of them in turn is
#: treated like somebody enrolled (left out of centre and covariance, each sample left out of its own mean).
FALSE_REJECT_SHARE = 0.10


@dataclass(frozen=True, eq=False)
class ScoreCalibration:
    """Public statistics of N chips.

    Attributes
    ----------
    centre
        Integer mean of the public samples, int32 [N, F]: what `Engine.capture` subtracts, so that sums of
        different chips can be added.
    whitening
        Fitted on the same samples.
    accept_threshold
        float64 [N].
    public_codes
        Centred codes of the public samples, int32 [N, P, F]: the negatives of learning.
    public_person
        Whose sample each of them is, int64 [P].
    """

    centre: Tensor
    whitening: Whitening
    accept_threshold: Tensor
    public_codes: Tensor
    public_person: Tensor

    @classmethod
    def fit(cls, codes: Tensor, person: Tensor) -> ScoreCalibration:
        """Calibrate on uncentred public codes, int32 [N, P, F], of the people `person`, int64 [P].

        `EngineError` with fewer than three public people, or one with fewer than two samples.
        """
        samples = [count for _, count in sorted(Counter(person.tolist()).items())]
        if len(samples) < 3 or min(samples) < 2:
            raise EngineError(f"calibration needs three public people with two samples each; got {samples} samples")
        centre = _centre(codes)
        centred = codes - centre[:, None]
        return cls(
            centre=centre,
            whitening=Whitening.fit(centred, person),
            accept_threshold=_threshold(genuine_scores(codes, person)),
            public_codes=centred,
            public_person=person,
        )


def genuine_scores(codes: Tensor, person: Tensor) -> Tensor:
    """Return each public sample's score against the mean of its person's other samples, float64 [N, P].

    The person is left out of centre and covariance: else the scores of the samples that the covariance was
    fitted on would be too good, and a person who is a third of the centre too close to it.
    """
    scores = torch.empty(codes.shape[:2], dtype=torch.float64)
    for index in sorted(set(person.tolist())):
        mine = person == index
        others = codes[:, ~mine]
        whitening = Whitening.fit(others, person[~mine])
        samples = (codes[:, mine] - _centre(others)[:, None]).long()
        rest = samples.sum(dim=1, keepdim=True) - samples
        scores[:, mine] = (whitening.unit(samples) * whitening.unit(rest)).sum(dim=-1)
    return scores


def _centre(codes: Tensor) -> Tensor:
    return rounded_mean(codes.sum(dim=1, dtype=torch.int64), codes.shape[1]).to(torch.int32)


def _threshold(genuine: Tensor) -> Tensor:
    """Return the largest score that rejects at most the stated share: an observed one."""
    rank = math.floor(FALSE_REJECT_SHARE * genuine.shape[1])
    return genuine.sort(dim=1).values[:, rank]
