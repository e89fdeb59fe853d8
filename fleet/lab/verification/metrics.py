"""Metrics of forgetting: each of one model, or of a model against the retrained reference.

Names are those of the field (SalUn, arXiv 2310.12508): UA = 1 - accuracy on the forgotten person's training samples, RA
and TA = accuracy on the retained people's training and held-out samples. The reference is a model trained by the same
recipe without the person: nothing here is judged against 0 or 1 where the reference says otherwise.

Logits are float ``[N, B, K]`` of N nodes throughout, labels int64 ``[B]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import EngineError
from fleet.lab.verification.intervals import Rate


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """Scores of one model for the four sets of samples of one forget, on N nodes."""

    #: Logits of the forgotten person's samples that were trained on, and of held-out ones.
    forget_train: Tensor
    forget_test: Tensor
    #: Of everybody else's.
    retain_train: Tensor
    retain_test: Tensor
    #: Whose they are, int64 [B].
    retain_train_labels: Tensor
    retain_test_labels: Tensor
    #: Column of the forgotten person. The reference has it too, untrained.
    forgotten_class: int
    #: Highest logit from which a sample is accepted as somebody's.
    accept_logit: float = 0.0

    def __post_init__(self) -> None:
        sets = (self.forget_train, self.forget_test, self.retain_train, self.retain_test)
        shapes = [list(logits.shape) for logits in sets]
        if any(len(shape) != 3 or 0 in shape or shape[::2] != shapes[0][::2] for shape in shapes):
            raise EngineError(f"logits of the four sets are [N, B, K] of the same N and K, not empty; got {shapes}")
        if not 0 <= self.forgotten_class < self.forget_train.shape[2]:
            raise EngineError(f"there is no class {self.forgotten_class} among {self.forget_train.shape[2]} logits")

    @property
    def recognised_train(self) -> Rate:
        """Forgotten person's training samples that are still named as theirs; UA is 1 less this.

        Only if they are accepted: a row that was never trained, or was destroyed, is the best match wherever everybody
        else's refuses more firmly, and names nobody by that.
        """
        return named(self.forget_train, self.forgotten_class, self.accept_logit)

    @property
    def recognised_test(self) -> Rate:
        """The same of held-out samples."""
        return named(self.forget_test, self.forgotten_class, self.accept_logit)

    @property
    def accepted(self) -> Rate:
        """Samples of the forgotten person, of either kind, that are accepted as anybody's."""
        return Rate.of(torch.cat([self.forget_train, self.forget_test], dim=1).amax(dim=2) >= self.accept_logit)

    @property
    def retained_train(self) -> Rate:
        """Retained people's training samples that are named right: RA."""
        return named(self.retain_train, self.retain_train_labels)

    @property
    def retained_test(self) -> Rate:
        """The same of held-out samples: TA."""
        return named(self.retain_test, self.retain_test_labels)

    @property
    def forget_loss(self) -> float:
        """Mean loss of the forgotten training samples under their own label."""
        return float(losses(self.forget_train, self.forgotten_class).mean())


def named(logits: Tensor, label: Tensor | int, accept_logit: float = -math.inf) -> Rate:
    """Return how many samples are named as their label says, over all nodes: best match, and accepted."""
    best = logits.max(dim=2)
    return Rate.of((best.indices == label) & (best.values >= accept_logit))


def losses(logits: Tensor, label: Tensor | int) -> Tensor:
    """Return the cross entropy of each answer, float64 [N, B]."""
    chosen = torch.as_tensor(label).expand(logits.shape[:2])
    return functional.cross_entropy(logits.double().mT, chosen, reduction="none")


def entropy(logits: Tensor) -> float:
    """Return the mean entropy of the answers, in nats."""
    log_p = logits.double().log_softmax(dim=2)
    return float(-(log_p.exp() * log_p).sum(dim=2).mean())


def js_divergence(one: Tensor, other: Tensor) -> float:
    """Return the mean Jensen-Shannon divergence of two models' answers to the same samples, 0 to ln 2.

    `EngineError` if they did not answer the same samples.
    """
    if one.shape != other.shape:
        raise EngineError(f"answers to compare have shapes {list(one.shape)} and {list(other.shape)}")
    p, q = one.double().softmax(dim=2), other.double().softmax(dim=2)
    middle = (p + q) / 2
    both = [torch.special.xlogy(d, d / middle).nan_to_num(nan=0.0).sum(dim=2) for d in (p, q)]
    return min(math.log(2), max(0.0, float((both[0] + both[1]).mean() / 2)))


def equal_error_rate(genuine: npt.ArrayLike, impostor: npt.ArrayLike) -> float:
    """Return the rate at which false rejects of genuine scores equal false accepts of impostors'.

    Between two thresholds the rates jump; the result is where the line between the last point with fewer false rejects
    than accepts and the first with at least as many crosses equality.

    `ValueError` if there are no scores of a kind.
    """
    mine, others = (np.sort(np.asarray(scores, np.float64), axis=None) for scores in (genuine, impostor))
    if not mine.size or not others.size:
        raise ValueError(f"rates need pairs of both kinds; got {mine.size} genuine and {others.size} impostor pairs")
    thresholds = np.append(np.unique(np.concatenate([mine, others])), np.inf)
    rejects = np.searchsorted(mine, thresholds, side="left") / mine.size
    accepts = 1 - np.searchsorted(others, thresholds, side="left") / others.size
    # Rejects grow from 0 and accepts fall from 1: the first is never equal, the last is beyond.
    after = int(np.argmax(rejects >= accepts))
    gap_before = accepts[after - 1] - rejects[after - 1]
    share = gap_before / (gap_before + rejects[after] - accepts[after])
    return float(rejects[after - 1] + share * (rejects[after] - rejects[after - 1]))
