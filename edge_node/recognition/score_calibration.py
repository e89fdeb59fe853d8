"""Calibration of a chip's scores from public samples: centre, whitening and the threshold of acceptance.

All of it depends on public people only, so enrolling or forgetting somebody moves none of it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.backbones import rounded_mean
from edge_node.errors import EngineError

#: The rule: the threshold rejects this share of the public people's own samples when each of them in turn is
#: treated like somebody enrolled (left out of centre and covariance, each sample left out of its own mean).
FALSE_REJECT_SHARE = 0.10
#: Ridge on the covariance, in mean eigenvalues. Over all 84 public triples of the speakers, 0.3, 1 give
#: false acceptance 4.1, 5.1 % by the same rule; larger ones accept still more strangers.
SHRINKAGE = 0.3

#: Directions below this share of the largest eigenvalue are numerical noise of the rank deficit.
_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Whitening:
    """``z = (C + r I)^(-1/2) f`` of N chips, with C the within-person covariance of public samples.

    C has rank P at most (P public samples), so ``z = f / sqrt(r) + V diag(a) V' f`` with V the eigenvectors of
    C and ``a = 1 / sqrt(l + r) - 1 / sqrt(r)``: 2 F P multiplications a sample, instead of F^2.

    Attributes
    ----------
    basis
        V, float64 [N, F, P].
    gain
        a, float64 [N, P].
    floor
        1 / sqrt(r), float64 [N].
    """

    basis: Tensor
    gain: Tensor
    floor: Tensor

    @classmethod
    def fit(cls, codes: Tensor, person: Tensor) -> Whitening:
        """Fit on public samples, int32 [N, P, F], of the people `person`, int64 [P].

        `EngineError` if the public samples do not vary: no covariance can be had from them.
        """
        within = torch.empty(codes.shape, dtype=torch.float64)
        for index in sorted(set(person.tolist())):
            mine = person == index
            samples = codes[:, mine].double()
            within[:, mine] = samples - samples.mean(dim=1, keepdim=True)
        count, features = codes.shape[1:]
        gram = within @ within.mT / count
        eigenvalues, eigenvectors = torch.linalg.eigh(gram)
        ridge = SHRINKAGE * eigenvalues.clamp(min=0).sum(dim=1) / features
        if not bool((ridge > 0).all()):
            raise EngineError("the public samples of a person are all the same: cannot calibrate on them")
        kept = eigenvalues > _RANK_TOLERANCE * eigenvalues[:, -1:]
        safe = torch.where(kept, eigenvalues, 1.0)
        basis = within.mT @ (eigenvectors / (count * safe).sqrt()[:, None, :])
        floor = ridge.rsqrt()
        gain = torch.where(kept, (safe + ridge[:, None]).rsqrt() - floor[:, None], 0.0)
        return cls(basis, gain, floor)

    def unit(self, codes: Tensor, nodes: slice | list[int] = slice(None)) -> Tensor:
        """Return whitened vectors of length 1 (zero stays zero), float64 [N, B, F], from codes [N, B, F]."""
        f = codes.double()
        z = f * self.floor[nodes, None, None]
        z = z + ((f @ self.basis[nodes]) * self.gain[nodes, None, :]) @ self.basis[nodes].mT
        return functional.normalize(z, dim=-1)

    @property
    def macs_per_vector(self) -> int:
        """Multiply-accumulates of whitening one vector."""
        _, features, rank = self.basis.shape
        return features * (2 * rank + 1)


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
