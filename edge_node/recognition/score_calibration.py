"""Calibration of a chip's scores from public samples: centre, whitening, threshold of acceptance, typical length.

All of it depends on public people only, so enrolling or forgetting somebody moves none of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.backbones import rounded_mean
from edge_node.errors import EngineError
from edge_node.recognition.exact_algebra import eliminate, root, total
from edge_node.recognition.training.exact import LIMIT
from edge_node.recognition.whitening import Whitened, Whitening, centred_by_person, within_products

#: The rule: the threshold rejects this share of the public people's own samples when each of them in turn is
#: treated like somebody enrolled (left out of centre and covariance, each sample left out of its own mean).
FALSE_REJECT_SHARE = 0.10
#: Ridge on the covariance, in mean eigenvalues. Over all 84 public triples of the speakers, 0.3, 1 give
#: false acceptance 4.1, 5.1 % by the same rule; larger ones accept still more strangers.
SHRINKAGE = 0.3

#: Nodes calibrated at once: what they need then stays near the processor (a megabyte each).
_CHUNK = 4


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
    typical_length
        Of a whitened sample of somebody whom the covariance does not know: the median of the public samples, their
        people left out; float64 [N].
    public_person
        Whose sample each public one is, int64 [P].
    """

    centre: Tensor
    whitening: Whitening
    accept_threshold: Tensor
    typical_length: Tensor
    public_person: Tensor

    @property
    def public_codes(self) -> Tensor:
        """Centred codes of the public samples, integers [N, P, F]: the negatives of learning."""
        return self.whitening.codes

    def strength(self, node: int, samples: Whitened) -> Tensor:
        """Return lengths of whitened samples in units of a typical one's, float64 [B]: of public data only."""
        return samples.length / self.typical_length[node]

    @classmethod
    def fit(cls, codes: Tensor, person: Tensor) -> ScoreCalibration:
        """Calibrate on uncentred public codes, int32 [N, P, F], of the people `person`, int64 [P].

        `EngineError` with fewer than three public people, or one with fewer than two samples, or if a person's do not
        vary: no covariance can be had from them.
        """
        return cls.fit_parts([codes], len(codes), person)

    @classmethod
    def fit_parts(cls, parts: Iterable[Tensor], nodes: int, person: Tensor) -> ScoreCalibration:
        """Calibrate so many nodes as `fit`, on parts of them, one after the other."""
        samples = [count for _, count in sorted(Counter(person.tolist()).items())]
        if len(samples) < 3 or min(samples) < 2:
            raise EngineError(f"calibration needs three public people with two samples each; got {samples} samples")
        threshold, typical = (torch.empty(nodes, dtype=torch.float64) for _ in range(2))
        centre = kept = torch.empty(0)
        whitening: list[Whitening] = []
        first = 0
        for part in parts:
            for start in range(0, len(part), _CHUNK):
                some = part[start : start + _CHUNK]
                where = slice(first, first + len(some))
                if not first:
                    centre = torch.empty(nodes, part.shape[2], dtype=torch.int32)
                    kept = torch.empty(nodes, *part.shape[1:], dtype=torch.int16)
                fitted = _PublicProducts.of(some, person)
                if kept.dtype is torch.int16 and int(fitted.centred.abs().max()) > torch.iinfo(torch.int16).max:
                    kept = kept.to(torch.int32)
                centre[where], kept[where] = fitted.centre, fitted.centred
                whitening.append(fitted.whitening())
                scores, lengths = fitted.left_out()
                threshold[where], typical[where] = _threshold(scores), lengths.median(dim=1).values
                first += len(some)
        axes, pivots, ridge = (
            torch.cat(parts) for parts in zip(*((w.axes, w.pivots, w.ridge) for w in whitening), strict=True)
        )
        whitened = Whitening(kept, axes, pivots, ridge, fitted.person)
        return cls(centre, whitened, threshold, typical, person)

    def renewed(self, node: int, fitted: ScoreCalibration) -> ScoreCalibration:
        """Put in one node's calibration, fitted on it alone, and return what has all nodes' by then."""
        self.centre[node], self.accept_threshold[node] = fitted.centre[0], fitted.accept_threshold[0]
        self.typical_length[node] = fitted.typical_length[0]
        return replace(self, whitening=self.whitening.renewed(node, fitted.whitening))


def genuine_scores(codes: Tensor, person: Tensor) -> Tensor:
    """Return each public sample's score against the mean of its person's other samples, float64 [N, P].

    Codes are as of `ScoreCalibration.fit`. The person is left out of centre and covariance: else the scores of the
    samples that the covariance was fitted on would be too good, and a person who is a third of the centre too close to
    it.
    """
    parts = [codes[start : start + _CHUNK] for start in range(0, len(codes), _CHUNK)]
    return torch.cat([_PublicProducts.of(part, person).left_out()[0] for part in parts])


@dataclass(frozen=True, eq=False)
class _PublicProducts:
    """Inner products of the public samples of N chips, of which everything that is calibrated is a function.

    Each person comes with a shift: the centre of all others less the centre of all.

    Attributes
    ----------
    centre, centred
        As in `ScoreCalibration`: int32 [N, F], and int64 [N, P, F].
    products
        Of centred samples, then shifts, with each other: float64 [N, P + people, P + people], exact.
    within
        Of centred samples less their person's mean, with each other: float64 [N, P, P].
    person
        Whose sample each is: its place among the sorted people, int64 [P].
    """

    centre: Tensor
    centred: Tensor
    products: Tensor
    within: Tensor
    person: Tensor

    @classmethod
    def of(cls, codes: Tensor, person: Tensor) -> _PublicProducts:
        count, whole = codes.shape[1], codes.to(torch.int64)
        _, person = torch.unique(person, return_inverse=True)
        of_person = functional.one_hot(person).T
        total, own, samples = whole.sum(dim=1), of_person.double() @ whole.double(), of_person.sum(dim=1)
        centre = rounded_mean(total, count)
        others = rounded_mean(total[:, None] - own.long(), (count - samples)[:, None])
        centred = whole - centre[:, None]
        rows = torch.cat([centred, others - centre[:, None]], dim=1).double()
        # What is added up at most: products of a person's samples and as many shifts with each other.
        if float(rows.square().sum(dim=2).amax()) * (2 * int(samples.max())) ** 2 >= LIMIT:
            raise EngineError("the codes of public samples are too large: their products would not be exact")
        products = rows @ rows.mT
        within = within_products(products[:, :count, :count], person)
        return cls(centre.to(torch.int32), centred, products, within, person)

    def whitening(self) -> Whitening:
        """Return the whitening, fitted on all people."""
        return Whitening.fit(self.centred, self.person, self.within, self._ridge(self.within))

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Return `genuine_scores`, and lengths of the whitened samples with their person left out: float64 [N, P].

        ``f' (C + r I)^-1 g = (f' g - (W f)' (P r I + W W')^-1 W g) / r``, and r does not matter to a cosine.
        """
        count, samples = len(self.person), torch.bincount(self.person)
        scores, lengths = (torch.empty(len(self.products), count, dtype=torch.float64) for _ in range(2))
        # People with as many samples as each other are left out in one batch, each of their own matrix.
        for size in sorted(set(samples.tolist())):
            people = torch.nonzero(samples == size)[:, 0]
            mine, others = (torch.nonzero(found)[:, 1].view(len(people), -1) for found in self._theirs(people))
            rows = torch.cat([mine, count + people[:, None]], dim=1)
            one = torch.eye(size, dtype=torch.float64)
            # A sample less the others' centre, and the sum of the person's other samples less as many centres.
            sample = torch.cat([one, -torch.ones(size, 1).double()], dim=1)
            pair = torch.cat([sample, sample.sum(dim=0) - sample])
            inner = pair @ self.products[:, rows[:, :, None], rows[:, None]] @ pair.T
            seen = centred_by_person(self.products[:, :count, rows].transpose(1, 2) @ pair.T, self.person)
            seen = seen[:, torch.arange(len(people))[:, None], others]
            within = self.within[:, others[:, :, None], others[:, None]]
            ridge = self._ridge(within)[:, :, None]
            within.diagonal(dim1=-2, dim2=-1).add_(others.shape[1] * ridge)
            whole = torch.cat([torch.cat([within, seen], dim=-1), torch.cat([seen.mT, inner], dim=-1)], dim=-2)
            inner = eliminate(whole, others.shape[1])[..., others.shape[1] :, others.shape[1] :]
            square = inner.diagonal(dim1=-2, dim2=-1).clamp(min=0)
            a, b = square[..., :size], square[..., size:]
            both = inner[..., :size, size:].diagonal(dim1=-2, dim2=-1)
            scores[:, mine] = torch.where((a > 0) & (b > 0), both / root(a * b), 0.0)
            lengths[:, mine] = root(a / ridge)
        return scores, lengths

    def _theirs(self, people: Tensor) -> tuple[Tensor, Tensor]:
        """Return which samples are of each of some people, and which are not, bool [people, P]."""
        mine = people[:, None] == self.person
        return mine, ~mine

    def _ridge(self, within: Tensor) -> Tensor:
        """Return r of samples whose W W' this is, float64 [...]."""
        trace = total(within.diagonal(dim1=-2, dim2=-1))
        if not bool((trace > 0).all()):
            raise EngineError("the public samples of a person are all the same: cannot calibrate on them")
        return SHRINKAGE * trace / within.shape[-1] / self.centred.shape[2]


def _threshold(genuine: Tensor) -> Tensor:
    """Return the largest score that rejects at most the stated share: an observed one."""
    rank = math.floor(FALSE_REJECT_SHARE * genuine.shape[1])
    return genuine.sort(dim=1).values[:, rank]
