"""Answers of a closed-form head alone: experiments compare them with those of subject adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import AdapterError
from edge_node.recognition.head import HeadAdapter


@dataclass(frozen=True, eq=False)
class HeadAnswer:
    """Answers to B samples on N nodes, from one kind of adapter or from several."""

    #: [N][B], also below the threshold; "" if nobody is known.
    best_tag: tuple[tuple[str, ...], ...]
    #: Score over threshold, so that kinds of adapter compare: float64 [N, B]; -inf if nobody is known.
    margin: Tensor

    @property
    def accepted(self) -> Tensor:
        """Whether the threshold is reached, bool [N, B]."""
        return self.margin >= 1.0

    @classmethod
    def of(cls, head: HeadAdapter, codes: Tensor) -> HeadAnswer:
        """Return who each sample is, integers [N, B, features]; of equal scores, the first tag."""
        nodes, samples = codes.shape[:2]
        scores = head.scores(codes)
        if not head.tags:
            return cls((("",) * samples,) * nodes, torch.full((nodes, samples), -torch.inf, dtype=torch.float64))
        return cls.of_margins(head.tags, scores.double() / head.threshold)

    @classmethod
    def of_margins(cls, tags: Sequence[str], margins: Tensor) -> HeadAnswer:
        """Return who each sample is by margins [N, B, people], at least one; of equal ones, the first tag."""
        # numpy says which of equal margins it takes; torch does not.
        best = margins.numpy().argmax(axis=2)
        return cls(tuple(tuple(tags[column] for column in row) for row in best.tolist()), margins.amax(dim=2))

    @classmethod
    def of_scores(cls, best_tag: tuple[tuple[str, ...], ...], score: Tensor, threshold: Tensor) -> HeadAnswer:
        """Return the answer of subject adapters: tags and scores [N, B], thresholds [N] of `Engine.identify`."""
        if not bool((threshold > 0).all()):
            raise AdapterError(f"thresholds must be above 0 to be compared; got {threshold.tolist()}")
        return cls(best_tag, score / threshold[:, None])

    def or_better(self, other: HeadAnswer) -> HeadAnswer:
        """Return sample by sample the answer with the larger margin; this one if they are equal."""
        if self.margin.shape != other.margin.shape:
            raise AdapterError(
                f"answers to {list(self.margin.shape)} and {list(other.margin.shape)} samples do not compare"
            )
        theirs = (other.margin > self.margin).tolist()
        best = tuple(
            tuple(b if take else a for a, b, take in zip(*row, strict=True))
            for row in zip(self.best_tag, other.best_tag, theirs, strict=True)
        )
        return HeadAnswer(best, torch.maximum(self.margin, other.margin))
