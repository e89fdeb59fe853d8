"""Metrics of forgetting, and attacks on a model that claims to have forgotten.

Names are those of the field (SalUn, arXiv 2310.12508): UA = 1 - accuracy on the forgotten person's training samples, RA
and TA = accuracy on the retained people's training and held-out samples. The reference is a model trained by the same
recipe without the person: nothing here is judged against 0 or 1 where the reference says otherwise.

A model that has forgotten has no class for the person any more, so whoever attacks it has its answers about the others:
"nobody" is a class of its own, with the logit of the threshold, 0, and what is right for the person's samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.recognition.engine import Engine
from edge_node.recognition.training.logistic import GAIN
from fleet.lab.verification.evidence import ModelScores
from fleet.lab.verification.intervals import Rate
from hwmodel import Phase


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers of N nodes to B samples, about K people.

    Attributes
    ----------
    best
        Who fits best, int64 ``[N, B]``: a column, or -1 for nobody.
    accepted
        Whether the sample is accepted as them, bool ``[N, B]``.
    margins
        Scores above the threshold if somebody is claimed, float64 ``[N, B, K]``; -inf of who has no adapter.
    """

    best: Tensor
    accepted: Tensor
    margins: Tensor

    def __post_init__(self) -> None:
        shapes = [list(values.shape) for values in (self.margins, self.best, self.accepted)]
        if self.margins.ndim != 3 or 0 in shapes[0] or any(shape != shapes[0][:2] for shape in shapes[1:]):
            raise EngineError(f"answers are [N, B, K], [N, B] and [N, B], not empty; got {shapes}")

    @classmethod
    def of(cls, engine: Engine, codes: Tensor, tags: Sequence[str], nodes: Sequence[int] | None = None) -> Answers:
        """Ask nodes of an engine, all if None, about codes ``[N, B, F]``; people are columns in the order of tags."""
        columns = {tag: column for column, tag in enumerate(tags)}
        found = engine.identify(codes, Phase.VERIFY, nodes)
        best = torch.tensor([[columns.get(tag, -1) for tag in row] for row in found.best_tag])
        threshold = engine.accept_threshold[slice(None) if nodes is None else list(nodes), None]
        claimed = [engine.identify(codes, Phase.VERIFY, nodes, tag).score - threshold for tag in tags]
        return cls(best, found.accepted, torch.stack(claimed, dim=2))

    @property
    def anybody(self) -> Rate:
        """Samples that are accepted as somebody."""
        return Rate.of(self.accepted)

    def without(self, person: int) -> Answers:
        """Return the answers of a model that knows a person and never says so."""
        theirs = self.best == person
        column = torch.arange(self.margins.shape[2]) == person
        return Answers(
            self.best.masked_fill(theirs, -1), self.accepted & ~theirs, self.margins.masked_fill(column, -torch.inf)
        )

    def followed_by(self, more: Answers) -> Answers:
        """Return these answers and then those."""
        parts = zip(self._parts, more._parts, strict=True)
        return Answers(*(torch.cat([mine, theirs], dim=1) for mine, theirs in parts))

    def split(self, sizes: Sequence[int]) -> list[Answers]:
        """Return the answers to the first so many samples, the next, and so on."""
        parts = (torch.split(part, list(sizes), dim=1) for part in self._parts)
        return [Answers(*some) for some in zip(*parts, strict=True)]

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.best, self.accepted, self.margins

    def right(self, labels: Tensor) -> Rate:
        """Return how many samples are named as their labels, int64 [B], say, accepted or not."""
        return Rate.of(self.best == labels)

    def named(self, person: int) -> Rate:
        """Return how many samples are named as a person's: best match, and accepted.

        A row that was never trained is the best match wherever everybody else's refuses more firmly, and names nobody
        by that.
        """
        return Rate.of((self.best == person) & self.accepted)

    @property
    def log_shares(self) -> Tensor:
        """Logarithms of the shares of K people and of nobody, float64 ``[N, B, K + 1]``."""
        nobody = torch.zeros(*self.margins.shape[:2], 1, dtype=torch.float64)
        return torch.cat([GAIN * self.margins.double(), nobody], dim=2).log_softmax(dim=2)

    @property
    def losses(self) -> Tensor:
        """Loss of each sample as nobody's, float64 [N, B]: what a model that never knew the person says best."""
        return -self.log_shares[:, :, -1]


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """Answers of one model to the four sets of samples of one forget.

    Attributes
    ----------
    forget_train, forget_test
        To the forgotten person's samples that were trained on, and to held-out ones.
    retain_train, retain_test
        To everybody else's, whose labels are ``retain_train_labels`` and ``retain_test_labels``, int64 [B].
    person
        Column of the forgotten person.
    """

    forget_train: Answers
    forget_test: Answers
    retain_train: Answers
    retain_test: Answers
    retain_train_labels: Tensor
    retain_test_labels: Tensor
    person: int

    @classmethod
    def of(cls, answers: Callable[[Tensor], Answers], samples: ForgetSamples) -> ModelOutputs:
        """Ask a model, which answers about codes ``[N, B, F]``."""
        sets = (samples.forget_train, samples.forget_test, samples.retain_train, samples.retain_test)
        gone, gone_test, kept, kept_test = answers(torch.cat(sets, dim=1)).split([codes.shape[1] for codes in sets])
        labels = samples.retain_train_labels, samples.retain_test_labels
        return cls(gone, gone_test, kept, kept_test, *labels, samples.person)

    def masked(self) -> ModelOutputs:
        """Return the answers of the same model with a mask: it never names the person."""
        return replace(
            self,
            forget_train=self.forget_train.without(self.person),
            forget_test=self.forget_test.without(self.person),
            retain_train=self.retain_train.without(self.person),
            retain_test=self.retain_test.without(self.person),
        )


@dataclass(frozen=True, eq=False)
class ForgetSamples:
    """Samples of one forget, as codes ``[N, B, F]``; otherwise as `ModelOutputs`."""

    forget_train: Tensor
    forget_test: Tensor
    retain_train: Tensor
    retain_test: Tensor
    retain_train_labels: Tensor
    retain_test_labels: Tensor
    person: int

    @classmethod
    def of(cls, train: Sequence[Tensor], test: Sequence[Tensor], person: int) -> ForgetSamples:
        """Take everybody's codes ``[N, samples, F]``, in the order of columns, and whose forget it is."""
        others = [k for k in range(len(train)) if k != person]

        def labels(codes: Sequence[Tensor]) -> Tensor:
            return torch.tensor(others).repeat_interleave(torch.tensor([codes[k].shape[1] for k in others]))

        return cls(
            train[person],
            test[person],
            torch.cat([train[k] for k in others], dim=1),
            torch.cat([test[k] for k in others], dim=1),
            labels(train),
            labels(test),
            person,
        )


def entropy(answers: Answers) -> float:
    """Return the mean entropy of the answers, in nats."""
    return float(torch.special.entr(answers.log_shares.exp()).sum(dim=2).mean())


def js_divergence(one: Answers, other: Answers) -> float:
    """Return the mean Jensen-Shannon divergence of two models' answers to the same samples, 0 to ln 2.

    `EngineError` if they did not answer about the same.
    """
    if one.margins.shape != other.margins.shape:
        raise EngineError(f"answers to compare have shapes {list(one.margins.shape)} and {list(other.margins.shape)}")
    p, q = one.log_shares.exp(), other.log_shares.exp()
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


def loss_attack_auc(train: Answers, test: Answers) -> float:
    """Return the AUC of telling a forgotten person's training samples from held-out ones by their loss as nobody's.

    What was trained on as theirs is less nobody's, what was trained on as a stranger's more. The target is what the
    retrained reference gives, not 0.5: two sets of five photos differ by themselves. Each node is attacked by itself;
    the mean is returned.
    """
    return sum(auc(a, b) for a, b in zip(-train.losses, -test.losses, strict=True)) / len(train.losses)


def confidence_svc(gone: Answers, kept_train: Answers, kept_test: Answers) -> float:
    """Return the share of a forgotten person's training samples that a support vector machine takes for never seen.

    The attack of SalUn and Unlearn-Sparse ("MIA-efficacy"): fitted on the confidence in the best answer, of the
    retained people's training samples (members) against their held-out ones; there are as many of either.
    """
    from sklearn.svm import SVC  # type: ignore[import-untyped]

    members, others, asked = (a.log_shares.max(dim=2).values.exp() for a in (kept_train, kept_test, gone))
    shares = []
    for inside, outside, mine in zip(members, others, asked, strict=True):
        size = min(len(inside), len(outside))
        known = torch.cat([_spread(inside, size), _spread(outside, size)]).numpy()[:, None]
        machine = SVC(C=3.0, gamma="auto", kernel="rbf").fit(known, np.repeat([1, 0], size))
        shares.append(float((machine.predict(mine.numpy()[:, None]) == 0).mean()))
    return sum(shares) / len(shares)


def _spread(values: Tensor, size: int) -> Tensor:
    """Return `size` of the values, evenly spread over their order."""
    ordered = values.sort().values
    return ordered[torch.linspace(0, len(ordered) - 1, size).round().long()]


def model_scores(outputs: ModelOutputs, held: Rate, resurfaced: Rate | None = None) -> ModelScores:
    """Return the scores of a model, of which so many nodes hold something of the person's."""
    gone = outputs.forget_train
    return ModelScores(
        recognised_train=gone.named(outputs.person),
        recognised_test=outputs.forget_test.named(outputs.person),
        accepted=gone.followed_by(outputs.forget_test).anybody,
        retained_train=outputs.retain_train.right(outputs.retain_train_labels),
        retained_test=outputs.retain_test.right(outputs.retain_test_labels),
        attack_auc=loss_attack_auc(gone, outputs.forget_test),
        called_non_member=confidence_svc(gone, outputs.retain_train, outputs.retain_test),
        forget_loss=float(gone.losses.mean()),
        forget_entropy=entropy(gone),
        held=held,
        resurfaced=resurfaced,
    )
