"""Gradient ascent: the paper's loss, a class weight of -0.5 on the forgotten person.

What arXiv 2601.10037 does to forget a face: 16 full-batch epochs. Nothing bounds the ascent, so it tends to
reject the person far better than any stranger and to take others with it; it is here to be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from fleet.lab.paper.methods import Adapter, Descent, RepairObjective, mean_of_present


@dataclass(frozen=True)
class GradientAscent:
    """The paper's faces.

    Attributes
    ----------
    weight
        Of the forgotten samples' loss, which is ascended; positive.
    descent
        The paper's number of epochs and learning rate by default.
    """

    weight: float = 0.5
    descent: Descent = field(default=Descent(steps=16, learning_rate=0.01))
    name: str = field(default="gradient-ascent", init=False)

    @property
    def steps(self) -> int:
        """Gradient steps of one repair."""
        return self.descent.steps

    def repair(self, objective: RepairObjective, start: Adapter, seed: int) -> Adapter:
        """Return the adapter after one round; see `Method.repair`. Draws nothing."""

        def loss(adapter: Adapter) -> Tensor:
            forgotten = mean_of_present(objective.forgotten_loss(adapter), objective.present)
            return objective.retained_loss(adapter) - self.weight * forgotten

        return self.descent.run(loss, start)
