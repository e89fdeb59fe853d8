"""Random labels: the forgotten person's samples are learnt as other people's.

What arXiv 2601.10037 does to forget a speaker; after Graves, Nagisetty, Ganesh, "Amnesiac machine learning",
AAAI 2021. The network learns that the person is somebody else, which no stranger's samples would show: the loss
attack finds the person out on one side or the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from edge_node.errors import EngineError
from fleet.lab.paper.methods import Adapter, Descent, RepairObjective, mean_of_present
from hwmodel import keyed_uint16


@dataclass(frozen=True)
class RandomLabel:
    """One label for each sample and node, drawn once.

    Attributes
    ----------
    weight
        Of the relabelled samples against the retained ones.
    descent
        How it is minimised.
    """

    weight: float = 1.0
    descent: Descent = field(default=Descent())
    name: str = field(default="random-label", init=False)

    @property
    def steps(self) -> int:
        """Gradient steps of one repair."""
        return self.descent.steps

    def repair(self, objective: RepairObjective, start: Adapter, seed: int) -> Adapter:
        """Return the adapter after one round; see `Method.repair`."""
        labels = drawn_labels(objective, seed)

        def loss(adapter: Adapter) -> Tensor:
            relabelled = objective.relabelled_loss(adapter, labels)
            return objective.retained_loss(adapter) + self.weight * mean_of_present(relabelled, objective.present)

        return self.descent.run(loss, start)


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
