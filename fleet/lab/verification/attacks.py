"""Attacks on a model that claims to have forgotten: membership, what its features give away, relearning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import EngineError
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import ModelOutputs, losses

#: Ridge of the probe, in mean squared lengths of a feature vector.
PROBE_RIDGE = 0.03


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

    Parameters
    ----------
    one
        Features of the one sample, float [N, 1, H].
    kept, kept_labels
        Of retained people's samples, [N, B, H], and whose, int64 [B].
    held_out
        Of the person's other samples, [N, C, H].
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
    """Return after how many steps of training on the person again their accuracy reaches a target.

    Parameters
    ----------
    accuracy_after
        Accuracy on the forgotten training samples after step 1, 2 ..., asked in that order.
    target
        What the model that knew them had, less what is tolerated.
    cap
        Steps at most: returned if the target is never reached.
    """
    for step in range(1, cap + 1):
        if accuracy_after(step) >= target:
            return step
    return cap
