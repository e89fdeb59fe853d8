"""Approximate forgetting of a shared LoRA: one file per method, one interface.

A method is given an adapter that has learnt the forgotten person, and a `RepairObjective`: what to keep, what
to forget. It returns another adapter; whether that is good enough is for `fleet.lab.verification` to say,
never for the method. All of it runs over a leading node axis, and the draws of a method are keyed.

============================  ======================================================================
`NegativeGradient` (default)  hinged NegGrad+: away from the person, but only as far as strangers are
`RandomLabel`                 the paper's speakers: the person's samples are learnt as other people's
`GradientAscent`              the paper's faces: a fixed share of ascent, without any bound
============================  ======================================================================

For images negative guidance takes their place (`fleet.lab.paper.image_erasure`). What an engine does in a
learning round (`edge_node.recognition.training.neggrad`) is the hinged method for the one layer of its own LoRA, after
the person's row was dropped: there only the others' rows are left to repair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from edge_node.errors import EngineError

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


class Method(Protocol):
    """One way to forget."""

    @property
    def name(self) -> str:
        """Name in reports and on the command line."""

    @property
    def steps(self) -> int:
        """Gradient steps of one repair: what it costs."""

    def repair(self, objective: RepairObjective, start: Adapter, seed: int) -> Adapter:
        """Return the adapter after one round of repair.

        Parameters
        ----------
        objective
            The samples; a node without forgotten samples only keeps what it has.
        start
            What has learnt the person; it is not changed.
        seed
            Of the method's draws, if it makes any.

        Raises
        ------
        EngineError
            If the repair diverges.
        """


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


def mean_of_present(values: Tensor, present: Tensor) -> Tensor:
    """Return the mean over real samples, float32 [N], of values [N, S]; 0 for a node without any."""
    return (values * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def method_named(name: str) -> Method:
    """Return a method with its own constants.

    Raises
    ------
    EngineError
        If there is none of this name.
    """
    from fleet.lab.paper.methods.gradient_ascent import GradientAscent
    from fleet.lab.paper.methods.negative_gradient import NegativeGradient
    from fleet.lab.paper.methods.random_label import RandomLabel

    methods: dict[str, Method] = {m.name: m for m in (NegativeGradient(), RandomLabel(), GradientAscent())}
    if name not in methods:
        raise EngineError(f"there is no unlearning method {name!r}; known: {', '.join(methods)}")
    return methods[name]


#: Names for `method_named`, the default first.
METHODS = ("negative-gradient", "random-label", "gradient-ascent")
