"""Hinged NegGrad+: descend on what is kept, ascend on what is forgotten until it is a stranger's.

NegGrad+ is the baseline of Kurmanji et al., "Towards unbounded machine unlearning" (SCRUB, NeurIPS 2023). Its
ascent has no end: it damages the others, and a person whom the network rejects too well is conspicuous by
that (the Streisand effect). Here it ends where the public people's samples are, who never were enrolled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from fleet.lab.paper.methods import Adapter, Descent, RepairObjective, mean_of_present


@dataclass(frozen=True)
class NegativeGradient:
    """The default method.

    Attributes
    ----------
    hinge
        Where the ascent ends, in losses of the public people's samples under the same label.
    weight
        Of the forgotten samples against the retained ones.
    descent
        How it is minimised.
    """

    hinge: float = 1.0
    weight: float = 1.0
    descent: Descent = field(default=Descent())
    name: str = field(default="negative-gradient", init=False)

    @property
    def steps(self) -> int:
        """Gradient steps of one repair."""
        return self.descent.steps

    def repair(self, objective: RepairObjective, start: Adapter, seed: int) -> Adapter:
        """Return the adapter after one round; see `Method.repair`. Draws nothing."""
        # Fixed at the start: a hinge that moved with the network could be met by moving the public people.
        level = self.hinge * objective.public_loss(start).detach()[:, None]

        def loss(adapter: Adapter) -> Tensor:
            missing = (level - objective.forgotten_loss(adapter)).clamp(min=0)
            return objective.retained_loss(adapter) + self.weight * mean_of_present(missing, objective.present)

        return self.descent.run(loss, start)
