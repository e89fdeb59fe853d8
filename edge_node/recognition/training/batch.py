"""Batch of nodes in one learning round, and how what is learnt treats their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.recognition.lora.stage import StageSamples
from edge_node.recognition.training import neggrad
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import AskedSamples, LabelledSamples, Recipe


@dataclass(frozen=True, eq=False)
class PreparedNode:
    """One node's round as tensors, on the grids of `LabelledSamples`; K rows in the ticket's order.

    Of the samples, the `public` ones come first. `known` rows are of people with samples here, `scored` ones of people
    who are enrolled and not forgotten. `branches` are float64 [G, neurons, rank], and `rows` [K, width].
    """

    branches: Tensor
    rows: Tensor
    reads: StageSamples
    nobody: Tensor
    base: Tensor
    target: Tensor
    weight: Tensor
    known: Tensor
    scored: Tensor
    public: int
    forget_reads: StageSamples
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
    forget
        Forgotten samples, with the same columns.
    """

    samples: LabelledSamples
    public: int
    real: Tensor
    hidden: Tensor
    scored: Tensor
    forget: AskedSamples

    @classmethod
    def of(cls, nodes: Sequence[PreparedNode]) -> NodeBatch:
        """Return the batch of some nodes; raises as `LabelledSamples`."""
        nobody = torch.cat([n.nobody for n in nodes])
        return cls(
            LabelledSamples(
                AskedSamples(_stack_reads([n.reads for n in nodes]), nobody, _stack([n.base for n in nodes])),
                _stack([n.target for n in nodes]),
                _stack([n.weight for n in nodes]),
            ),
            nodes[0].public,
            _stack([torch.ones(len(n.base), 1, dtype=torch.bool) for n in nodes])[:, :, 0],
            _stack([torch.ones(len(n.forget_base), 1, dtype=torch.bool) for n in nodes])[:, :, 0],
            torch.stack([n.scored for n in nodes]),
            AskedSamples(_stack_reads([n.forget_reads for n in nodes]), nobody, _stack([n.forget_base for n in nodes])),
        )

    def quality(self, logits: Tensor, hidden_logits: Tensor) -> list[dict[str, float]]:
        """Return how what is learnt treats each node's samples; only rows that it can score take part.

        Rates of what not every node has are left out where there is none. So what a repair is judged by comes as
        counts and sums divided by the node's number of examples: the mean over nodes, which is weighted by that
        number, then has the totals' proportions, also when few nodes hold such samples.
        """
        samples, public = self.samples, self.public
        exact, _ = self._best(samples.asked.base[:, :public])
        best, rows = self._best(logits)
        hidden_exact, _ = self._best(self.forget.base)
        hidden_best, hidden_rows = self._best(hidden_logits)
        anybody = self.scored.any(dim=1)
        own, hidden = self.real[:, public:], self.hidden & anybody[:, None]
        decides = self._decisive(samples.asked, best, rows)
        hidden_decides = self._decisive(self.forget, hidden_best, hidden_rows)
        accepted = decides >= 0
        right = functional.pad(samples.target, (0, 1)).gather(2, rows[:, :, None])[:, public:, 0].bool() & own
        # What the LoRA adds to what decides on a sample, less what it adds to that of a public sample on average.
        of_public = (decides[:, :public] - exact).sum(dim=1) / public
        shift = torch.where(hidden, hidden_decides - hidden_exact, 0.0).sum(dim=1) - hidden.sum(dim=1) * of_public

        examples = self.real.sum(dim=1)
        totals = {
            "kept_samples": own.sum(dim=1),
            "kept_hits": (right & anybody[:, None]).sum(dim=1),
            "forget_samples": hidden.sum(dim=1),
            "forget_accepted": (hidden & (hidden_decides >= 0)).sum(dim=1),
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

    def _decisive(self, asked: AskedSamples, best: Tensor, rows: Tensor) -> Tensor:
        """Return logits that decide whether samples are accepted, of their best logits and rows; -inf without any."""
        base = functional.pad(asked.base, (0, 1)).gather(2, rows[:, :, None])[:, :, 0]
        part = Recipe.of(asked.reads.stage).accepting
        return base * (1 - part) + best * part


def logits(asked: AskedSamples, branches: Tensor, rows: Tensor, row_branches: Sequence[int]) -> Tensor:
    """Return logits, ``[N, S, K]``, of rows that read several branches, float64 ``[N, G, neurons, rank]``."""
    found = asked.base.clone()
    for branch in sorted(set(row_branches)):
        who = torch.tensor([k for k, read in enumerate(row_branches) if read == branch])
        mine = AskedSamples(asked.reads, asked.nobody, asked.base[:, :, who])
        found[:, :, who] = mine.logits(Factors(branches[:, branch], rows[:, who])).float()
    return found


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack [S_n, ...] tensors along a node axis, padded with zeros to the longest."""
    longest = max(len(t) for t in tensors)
    return torch.stack([functional.pad(t, (0, 0) * (t.ndim - 1) + (0, longest - len(t))) for t in tensors])


def _stack_reads(nodes: Sequence[StageSamples]) -> StageSamples:
    projected, drives = (
        _stack([part[0] for part in parts]) for parts in zip(*((n.projected, n.drives) for n in nodes), strict=True)
    )
    return StageSamples(nodes[0].stage, projected, drives)
