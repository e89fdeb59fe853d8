"""Batch of nodes in one learning round, and how B treats their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.recognition.training import logistic, neggrad
from edge_node.recognition.training.logistic import LabelledSamples


@dataclass(frozen=True, eq=False)
class PreparedNode:
    """One node's round as tensors, on the grids of `LabelledSamples`; K rows in the ticket's order.

    Of the samples, the `public` ones come first. `known` rows are of people with samples here, `scored` ones of people
    who are enrolled and not forgotten.
    """

    b: Tensor
    projected: Tensor
    base: Tensor
    target: Tensor
    weight: Tensor
    known: Tensor
    scored: Tensor
    public: int
    forget_projected: Tensor
    forget_base: Tensor


@dataclass(frozen=True, eq=False)
class NodeBatch:
    """Rounds of N nodes, padded to the same number of samples.

    Attributes
    ----------
    samples
        Of kept people, after the public ones; with a column for each of the K rows.
    public
        How many of them are public.
    real, hidden
        bool [N, S], [N, H]: which samples, and which forgotten samples, are no padding.
    scored
        bool [N, K].
    forget_projected, forget_base
        Forgotten samples: u, [N, H, rank], and logits of the closed form, [N, H, K].
    """

    samples: LabelledSamples
    public: int
    real: Tensor
    hidden: Tensor
    scored: Tensor
    forget_projected: Tensor
    forget_base: Tensor

    @classmethod
    def of(cls, nodes: Sequence[PreparedNode]) -> NodeBatch:
        """Return the batch of some nodes; raises as `LabelledSamples`."""
        return cls(
            LabelledSamples(
                _stack([n.projected for n in nodes]),
                _stack([n.base for n in nodes]),
                _stack([n.target for n in nodes]),
                _stack([n.weight for n in nodes]),
            ),
            nodes[0].public,
            _stack([torch.ones(len(n.projected), 1, dtype=torch.bool) for n in nodes])[:, :, 0],
            _stack([torch.ones(len(n.forget_projected), 1, dtype=torch.bool) for n in nodes])[:, :, 0],
            torch.stack([n.scored for n in nodes]),
            _stack([n.forget_projected for n in nodes]),
            _stack([n.forget_base for n in nodes]),
        )

    def quality(self, b: Tensor) -> list[dict[str, float]]:
        """Return how B, [N, K, rank], treats each node's samples; only rows that it can score take part.

        Rates of what not every node has are left out where there is none. So what a repair is judged by comes as
        counts and sums divided by the node's number of examples: the mean over nodes, which is weighted by that
        number, then has the totals' proportions, also when few nodes hold such samples.
        """
        samples, public = self.samples, self.public
        exact, _ = self._best(samples.base[:, :public])
        best, rows = self._best(logistic.logits(b, samples.projected, samples.base))
        hidden_exact, _ = self._best(self.forget_base)
        hidden_best, _ = self._best(logistic.logits(b, self.forget_projected, self.forget_base))
        anybody = self.scored.any(dim=1)
        accepted, own, hidden = best >= 0, self.real[:, public:], self.hidden & anybody[:, None]
        right = functional.pad(samples.target, (0, 1)).gather(2, rows[:, :, None])[:, public:, 0].bool() & own
        # What B adds to a sample's best logit, less what it adds to a public sample's on average.
        of_public = (best[:, :public] - exact).sum(dim=1) / public
        shift = torch.where(hidden, hidden_best - hidden_exact, 0.0).sum(dim=1) - hidden.sum(dim=1) * of_public

        examples = self.real.sum(dim=1)
        totals = {
            "kept_samples": own.sum(dim=1),
            "kept_hits": (right & anybody[:, None]).sum(dim=1),
            "forget_samples": hidden.sum(dim=1),
            "forget_accepted": (hidden & (hidden_best >= 0)).sum(dim=1),
            "forget_accepted_exactly": (hidden & (hidden_exact >= 0)).sum(dim=1),
            "forget_above_hinge": (hidden & (hidden_best > neggrad.HINGE)).sum(dim=1),
            "forget_shift": shift.where(anybody, 0.0),
        }
        rates = {"public_accept_rate": accepted[:, :public].sum(dim=1).float() / public}
        of_own = {
            "accuracy": totals["kept_hits"].double() / totals["kept_samples"],
            "accept_rate": (accepted[:, public:] & own).sum(dim=1).float() / totals["kept_samples"],
        }
        shares = {name: total.double() / examples for name, total in totals.items()}
        return [
            {name: float(values[i]) for name, values in found.items()}
            for i, found in enumerate(
                rates | (of_own if has_own else {}) | shares for has_own in (own.any(dim=1) & anybody).tolist()
            )
        ]

    def _best(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best logit of each sample among the rows that can be scored, and its row; -inf without any."""
        found = functional.pad(logits.masked_fill(~self.scored[:, None], -torch.inf), (0, 1), value=-torch.inf)
        best = found.max(dim=2)
        return best.values, best.indices

    def of_rows(self, rows: Tensor) -> LabelledSamples:
        """Return the samples with some rows of each node, int64 [N, R]."""
        some = rows[:, None].expand(-1, self.samples.base.shape[1], -1)
        samples = self.samples
        return LabelledSamples(
            samples.projected,
            samples.base.gather(2, some),
            samples.target.gather(2, some),
            samples.weight.gather(2, some),
        )


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack [S_n, ...] tensors along a node axis, padded with zeros to the longest."""
    longest = max(len(t) for t in tensors)
    return torch.stack([functional.pad(t, (0, 0, 0, longest - len(t))) for t in tensors])
