"""Metrics of forgetting, and attacks on a model that claims to have forgotten.

Names are those of the field (SalUn, arXiv 2310.12508): UA = 1 - accuracy on the forgotten person's training samples, RA
and TA = accuracy on the retained people's training and held-out samples. The reference is a model trained by the same
recipe without the person: nothing here is judged against 0 or 1 where the reference says otherwise.

Logits are float ``[N, B, K]`` of N nodes throughout, labels int64 ``[B]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import EngineError
from fleet.lab.verification.intervals import Rate

#: Ridge of the one-photo probe, in mean squared lengths of a feature vector.
PROBE_RIDGE = 0.03


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


# Attacks


def auc(members: Tensor, others: Tensor) -> float:
    """Return the chance that a member scores above somebody else; ties count half.

    `EngineError` if there is nobody on one side.
    """
    if not members.numel() or not others.numel():
        raise EngineError("an attack needs scores of members and of others")
    inside, outside = members.flatten().double(), others.flatten().double().sort().values
    below = torch.searchsorted(outside, inside, right=False) + torch.searchsorted(outside, inside, right=True)
    return float(below.double().mean() / 2 / outside.numel())


def loss_attack_auc(outputs: ModelOutputs) -> float:
    """Return the AUC of telling the forgotten training samples from held-out ones of the same person by their loss.

    The target is what the retrained reference gives, not 0.5: two sets of five photos differ by themselves. Far below
    the reference is the Streisand effect. Each node is attacked by itself; the mean is returned.
    """
    train = -losses(outputs.forget_train, outputs.forgotten_class)
    test = -losses(outputs.forget_test, outputs.forgotten_class)
    return sum(auc(a, b) for a, b in zip(train, test, strict=True)) / len(train)


def confidence_svc(outputs: ModelOutputs) -> float:
    """Return the share of forgotten training samples that a support vector machine takes for never trained on.

    The attack of SalUn and Unlearn-Sparse ("MIA-efficacy"): fitted on the confidence in the right label, of the
    retained people's training samples (members) against their held-out ones; there are as many of either.
    """
    from sklearn.svm import SVC  # type: ignore[import-untyped]

    def confidence(logits: Tensor, label: Tensor | int) -> Tensor:
        return (-losses(logits, label)).exp()

    members = confidence(outputs.retain_train, outputs.retain_train_labels)
    others = confidence(outputs.retain_test, outputs.retain_test_labels)
    gone = confidence(outputs.forget_train, outputs.forgotten_class)
    shares = []
    for inside, outside, asked in zip(members, others, gone, strict=True):
        size = min(len(inside), len(outside))
        known = torch.cat([_spread(inside, size), _spread(outside, size)]).numpy()[:, None]
        machine = SVC(C=3.0, gamma="auto", kernel="rbf").fit(known, np.repeat([1, 0], size))
        shares.append(float((machine.predict(asked.numpy()[:, None]) == 0).mean()))
    return sum(shares) / len(shares)


def _spread(values: Tensor, size: int) -> Tensor:
    """Return `size` of the values, evenly spread over their order."""
    ordered = values.sort().values
    return ordered[torch.linspace(0, len(ordered) - 1, size).round().long()]


def one_photo_probe(one: Tensor, kept: Tensor, kept_labels: Tensor, held_out: Tensor) -> Rate:
    """Return how many held-out samples of a person features give away once *one* sample of them is known.

    A linear probe (ridge) on the features, with one sample of the person among everybody else's. Features that were
    never taught the person give them away too if they are good, so only the difference to the reference counts.
    Features are float: of the one sample [N, 1, H], of retained people's [N, B, H], whose they are int64 [B], and of
    the person's other samples [N, C, H].
    """
    people, columns = torch.unique(kept_labels, return_inverse=True)
    x = torch.cat([kept, one], dim=1).double()
    y = torch.zeros(x.shape[1], len(people) + 1, dtype=torch.float64)
    y[torch.arange(len(columns)), columns] = 1.0
    y[-1, -1] = 1.0
    gram = x @ x.mT
    ridge = PROBE_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    dual = torch.linalg.solve(gram + ridge * torch.eye(x.shape[1], dtype=torch.float64), y.expand(len(x), -1, -1))
    best = (held_out.double() @ x.mT @ dual).argmax(dim=2)
    return Rate.of(best == len(people))


def relearn_steps(accuracy_after: Callable[[int], float], target: float, cap: int) -> int:
    """Return after how many steps of training on the person again their accuracy reaches a target, `cap` at most.

    `accuracy_after` is asked for the accuracy on the forgotten training samples after step 1, 2 ..., in that order.
    """
    for step in range(1, cap + 1):
        if accuracy_after(step) >= target:
            return step
    return cap
