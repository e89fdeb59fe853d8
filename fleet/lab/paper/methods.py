"""Approximate forgetting of a shared LoRA: three methods with one interface.

A method is given an adapter that has learnt the forgotten person, and a `RepairObjective`: what to keep, what to
forget. It returns another adapter; whether that is good enough is for `fleet.lab.verification` to say, never for the
method. All of it runs over a leading node axis, and the draws of a method are keyed.

============================  ======================================================================
`NegativeGradient` (default)  hinged NegGrad+: away from the person, but only as far as strangers are
`RandomLabel`                 the paper's speakers: the person's samples are learnt as other people's
`GradientAscent`              the paper's faces: a fixed share of ascent, without any bound
============================  ======================================================================

Images have another (`fleet.lab.paper.images`). What an engine does in a learning round
(`edge_node.recognition.training.neggrad`) is the hinged method for the one layer of its own LoRA, after the person's
row was dropped: there only the others' rows are left to repair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor

from edge_node.errors import EngineError
from hwmodel import keyed_uint16

#: Trainable arrays of N nodes, float32, each ``[N, ...]``.
Adapter: TypeAlias = tuple[Tensor, ...]


class RepairObjective(Protocol):
    """A shared LoRA's losses on N nodes; differentiable in the adapter, nodes independent of each other."""

    @property
    def present(self) -> Tensor:
        """Real samples among the padded forgotten ones, bool [N, S]."""

    @property
    def classes(self) -> int:
        """K: people that the LoRA knows, the forgotten one among them."""

    @property
    def forgotten_class(self) -> int:
        """Which of them is to be forgotten."""

    def retained_loss(self, adapter: Adapter) -> Tensor:
        """Return the loss of everybody else's samples and the public people's, float32 [N]."""

    def forgotten_loss(self, adapter: Adapter) -> Tensor:
        """Return the loss of each forgotten sample under the forgotten person's own label, float32 [N, S]."""

    def public_loss(self, adapter: Adapter) -> Tensor:
        """Return the mean loss of the public people's samples under that label, float32 [N]: a stranger's."""

    def relabelled_loss(self, adapter: Adapter, labels: Tensor) -> Tensor:
        """Return the loss of each forgotten sample under other labels, int64 [N, S], as float32 [N, S]."""


class Adam:
    """Adam in floating point, for losses that autograd differentiates; exact training has its own."""

    def __init__(self, b: Tensor) -> None:
        self._first = torch.zeros_like(b)
        self._second = torch.zeros_like(b)
        self._step = 0

    def update(self, b: Tensor, gradient: Tensor, learning_rate: float) -> Tensor:
        """Return B after one step."""
        self._step += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.99 * self._second + 0.01 * gradient.square()
        first = self._first / (1 - 0.9**self._step)
        second = self._second / (1 - 0.99**self._step)
        return b - learning_rate * first / (second.sqrt() + 1e-8)


@dataclass(frozen=True)
class Descent:
    """Full-batch Adam with a learning rate that falls to zero.

    Attributes
    ----------
    steps, learning_rate
        How far it goes. The last steps are small, so that a hinge is met and not jumped over.
    falling
        Whether the rate falls; the paper's stays.
    """

    steps: int = 30
    learning_rate: float = 0.003
    falling: bool = True

    def run(self, loss: Callable[[Adapter], Tensor], start: Adapter) -> Adapter:
        """Minimise ``loss(adapter)``, float32 [N].

        Raises
        ------
        EngineError
            If a number stops being finite.
        """
        now = tuple(part.detach().clone() for part in start)
        optimisers = [Adam(part) for part in now]
        for step in range(self.steps):
            leaves = tuple(part.requires_grad_() for part in now)
            gradients = torch.autograd.grad(loss(leaves).sum(), leaves)
            rate = self.learning_rate * (1 - step / self.steps if self.falling else 1)
            now = tuple(
                adam.update(part.detach(), gradient, rate)
                for adam, part, gradient in zip(optimisers, leaves, gradients, strict=True)
            )
        if not all(bool(torch.isfinite(part).all()) for part in now):
            raise EngineError(
                f"the repair diverged after {self.steps} steps at rate {self.learning_rate}: lower the rate, "
                "or replay exactly"
            )
        return now


@dataclass(frozen=True)
class Method(ABC):
    """One way to forget: descent on the others' loss, and on a loss of the forgotten samples that is the method's own.

    Attributes
    ----------
    weight
        Of the forgotten samples' loss against the retained ones'.
    descent
        How the sum is minimised.
    """

    #: In reports and on the command line.
    name: ClassVar[str]

    weight: float = 1.0
    descent: Descent = Descent()

    @property
    def steps(self) -> int:
        """Gradient steps of one repair: what it costs."""
        return self.descent.steps

    def repair(self, objective: RepairObjective, start: Adapter, seed: int) -> Adapter:
        """Return the adapter after one round of repair; `start`, which has learnt the person, is not changed.

        A node without forgotten samples only keeps what it has. The seed is that of the method's draws.

        Raises
        ------
        EngineError
            If the repair diverges.
        """
        forgotten = self.forgotten_loss(objective, start, seed)

        def loss(adapter: Adapter) -> Tensor:
            mean = mean_of_present(forgotten(adapter), objective.present)
            return objective.retained_loss(adapter) + self.weight * mean

        return self.descent.run(loss, start)

    @abstractmethod
    def forgotten_loss(self, objective: RepairObjective, start: Adapter, seed: int) -> Callable[[Adapter], Tensor]:
        """Return the loss of each forgotten sample, float32 [N, S]: what a round of repair minimises."""


@dataclass(frozen=True)
class NegativeGradient(Method):
    """Hinged NegGrad+: ascend on what is forgotten until it is a stranger's.

    NegGrad+ is the baseline of Kurmanji et al., "Towards unbounded machine unlearning" (SCRUB, NeurIPS 2023). Its
    ascent has no end: it damages the others, and a person whom the network rejects too well is conspicuous by that
    (the Streisand effect). Here it ends where the public people's samples are, who never were enrolled.

    Attributes
    ----------
    hinge
        Where the ascent ends, in losses of the public people's samples under the same label.
    """

    name = "negative-gradient"

    hinge: float = 1.0

    def forgotten_loss(self, objective: RepairObjective, start: Adapter, seed: int) -> Callable[[Adapter], Tensor]:
        """Return by how much each sample's loss is below the hinge."""
        # Fixed at the start: a hinge that moved with the network could be met by moving the public people.
        level = self.hinge * objective.public_loss(start).detach()[:, None]
        return lambda adapter: (level - objective.forgotten_loss(adapter)).clamp(min=0)


@dataclass(frozen=True)
class RandomLabel(Method):
    """Random labels, one for each sample and node: the forgotten person's samples are learnt as other people's.

    What arXiv 2601.10037 does to forget a speaker; after Graves, Nagisetty, Ganesh, "Amnesiac machine learning", AAAI
    2021. The network learns that the person is somebody else, which no stranger's samples would show: the loss attack
    finds the person out on one side or the other.
    """

    name = "random-label"

    def forgotten_loss(self, objective: RepairObjective, start: Adapter, seed: int) -> Callable[[Adapter], Tensor]:
        """Return the loss of each sample under its drawn label."""
        labels = drawn_labels(objective, seed)
        return lambda adapter: objective.relabelled_loss(adapter, labels)


@dataclass(frozen=True)
class GradientAscent(Method):
    """Gradient ascent: the paper's loss, a class weight of -0.5 on the forgotten person.

    What arXiv 2601.10037 does to forget a face, for 16 full-batch epochs. Nothing bounds the ascent, so it tends to
    reject the person far better than any stranger and to take others with it; it is here to be compared with.
    """

    name = "gradient-ascent"

    weight: float = 0.5
    descent: Descent = Descent(steps=16, learning_rate=0.01)

    def forgotten_loss(self, objective: RepairObjective, start: Adapter, seed: int) -> Callable[[Adapter], Tensor]:
        """Return the negative loss of each sample."""
        return lambda adapter: -objective.forgotten_loss(adapter)


_METHODS: dict[str, Method] = {method.name: method for method in (NegativeGradient(), RandomLabel(), GradientAscent())}
#: Names for `method_named`, the default first.
METHODS = tuple(_METHODS)


def method_named(name: str) -> Method:
    """Return a method with its own constants.

    Raises
    ------
    EngineError
        If there is none of this name.
    """
    if name not in _METHODS:
        raise EngineError(f"there is no unlearning method {name!r}; known: {', '.join(METHODS)}")
    return _METHODS[name]


def mean_of_present(values: Tensor, present: Tensor) -> Tensor:
    """Return the mean over real samples, float32 [N], of values [N, S]; 0 for a node without any."""
    return (values * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def drawn_labels(objective: RepairObjective, seed: int) -> Tensor:
    """Return labels other than the forgotten person's, int64 [N, S], from the keyed stream of the seed.

    Raises
    ------
    EngineError
        If there is nobody else.
    """
    others = objective.classes - 1
    if others < 1:
        raise EngineError("random labels need at least one other person: drop the only row instead")
    nodes, samples = objective.present.shape
    draws = keyed_uint16(seed, "unlearn.labels", count=nodes * samples).reshape(nodes, samples).long() % others
    return draws + (draws >= objective.forgotten_class)
