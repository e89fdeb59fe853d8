"""Federated training under label skew: each node knows few of the people.

A softmax over the people of a node would teach it that only they exist. Here each row has a binary loss of
its own, over the node's people and public negatives, and counts only where the person is known; B is averaged
over the nodes that know anybody. With A frozen, the average of B is the average of the branch.

Between rounds everything is integers (`CohortState`). A round is computed in float32: bitwise the same again
in one environment, whether a node is computed alone or in a batch, since products of a node keep their shape
(`_PADDING`). That is measured, not promised by the library: a test holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edge_node.backbones.hidden_layer import PairCodes
from edge_node.errors import RoundError
from edge_node.learning.cohort_state import STATE_BITS, CohortState, LoraRecipe, as_values, in_units
from edge_node.learning.logistic import Adam
from edge_node.learning.state import UNTRAINED_WEIGHT
from hwmodel import Cost, Preset, cost

#: Clips are padded to a multiple of this, so that a node's products have the same shape in any batch: kernels
#: choose their order of summation by shape. A node with more clips than that makes its batch longer.
_PADDING = 128
_INT32_MAX = 2**31 - 1
#: Accesses of one parameter in a step of Adam: value and two moments, read and written.
_ADAM_ACCESSES = 6

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class NodeClips:
    """What one node has captured of a cohort.

    Attributes
    ----------
    node_id
        Its name.
    people
        By tag; a node knows the people that it has clips of.
    public
        Negatives, the same clips on every node.
    centre
        Integer mean of ``max(y, 0)`` over the public clips, int32 ``[hidden]``.
    """

    node_id: str
    people: Mapping[str, PairCodes]
    public: PairCodes
    centre: Tensor

    def without(self, tag: str) -> NodeClips:
        """Return the node's clips without a person's."""
        return replace(self, people={kept: codes for kept, codes in self.people.items() if kept != tag})


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """One round's clips of N nodes as float32 tensors, padded to S clips; `of` makes it.

    Attributes
    ----------
    projected, drives, centre
        ``[N, S, rank]``, ``[N, S, hidden]`` and ``[N, 1 or S, hidden]``, in training's units.
    target
        1 where clip and row are of the same person, ``[N, S, K]``.
    weight
        ``[N, S, K]``: for each row that the node knows, ``own_share`` on its clips, the rest on others.
    known
        bool ``[N, K]``.
    clips
        int64 ``[N]``: without padding.
    """

    projected: Tensor
    drives: Tensor
    centre: Tensor
    target: Tensor
    weight: Tensor
    known: Tensor
    clips: Tensor

    @classmethod
    def of(
        cls, recipe: LoraRecipe, nodes: Sequence[NodeClips], tags: Sequence[str], negatives: Sequence[Tensor]
    ) -> TrainingBatch:
        """Gather a batch.

        Parameters
        ----------
        recipe, tags
            How to train, and the rows.
        nodes
            The nodes that take part.
        negatives
            Indices of the public clips that each node takes, int64.
        """
        parts = []
        for node, chosen in zip(nodes, negatives, strict=True):
            mine = [tag for tag in tags if tag in node.people and node.people[tag].clips]
            codes = [*(node.people[tag] for tag in mine), node.public.at(chosen)]
            owner = torch.full((sum(c.clips for c in codes),), -1)
            owner[: len(owner) - len(chosen)] = torch.tensor(
                [row for row, tag in enumerate(tags) if tag in mine for _ in range(node.people[tag].clips)],
                dtype=torch.int64,
            )
            inputs = torch.cat([c.inputs for c in codes])
            parts.append((recipe.projected(inputs), torch.cat([c.drives for c in codes]), owner))
        longest = max(len(owner) for *_, owner in parts)
        padded = -(-longest // _PADDING) * _PADDING
        owners = torch.stack([functional.pad(o, (0, padded - len(o)), value=-2) for *_, o in parts])
        target = (owners[:, :, None] == torch.arange(len(tags))).float()
        known = target.any(dim=1)
        real = (owners > -2)[:, :, None]
        return cls(
            torch.stack([functional.pad(p, (0, 0, 0, padded - len(p))) for p, *_ in parts]),
            torch.stack([in_units(functional.pad(d, (0, 0, 0, padded - len(d)))) for _, d, _ in parts]),
            in_units(torch.stack([node.centre for node in nodes]))[:, None],
            target,
            _class_weights(target, real, recipe.own_share) * known[:, None],
            known,
            torch.tensor([len(o) for *_, o in parts]),
        )

    def pooled(self, recipe: LoraRecipe) -> TrainingBatch:
        """Return all clips as those of one node: what central training would see."""

        def flat(values: Tensor) -> Tensor:
            return values.flatten(0, 1)[None]

        nodes, padded = self.target.shape[:2]
        real = flat(self._real)
        known = self.known.any(dim=0, keepdim=True)
        target = flat(self.target)
        return TrainingBatch(
            flat(self.projected),
            flat(self.drives),
            flat(self.centre.expand(nodes, padded, -1)),
            target,
            _class_weights(target, real, recipe.own_share) * known[:, None],
            known,
            self.clips.sum()[None],
        )

    def as_if_all_known(self, recipe: LoraRecipe) -> TrainingBatch:
        """Return the batch of a plain FedAvg: every node trains every row, people it never met included."""
        weight = _class_weights(self.target, self._real, recipe.own_share)
        return replace(self, weight=weight, known=torch.ones_like(self.known))

    @property
    def _real(self) -> Tensor:
        """What is not padding, bool ``[N, S, 1]``."""
        return (torch.arange(self.target.shape[1]) < self.clips[:, None])[:, :, None]

    def gradients(self, b: Tensor, head: Tensor, gain: int) -> tuple[Tensor, Tensor]:
        """Return the gradients of the weighted loss for B and for the rows, float32 ``[N, K, hidden]``."""
        pre = self.drives + self.projected @ b.mT
        h = pre.clamp(min=0) - self.centre
        error = self.weight * (torch.sigmoid(h @ head.mT - gain / 2) - self.target)
        return ((error @ head) * (pre > 0)).mT @ self.projected, error.mT @ h


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one node sends after a round; an untrained row goes back as it came.

    Attributes
    ----------
    hidden, head
        float32 ``[hidden, rank]`` and ``[K, hidden]``.
    known
        bool ``[K]``: people that it trained with.
    num_examples
        Clips that it trained with: the weight of its message in Flower's average.
    """

    hidden: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    num_examples: int

    def arrays(self) -> Arrays:
        """Return numerators and weights, which a stock FedAvg averages (docs/adr/0004)."""
        rows = np.where(self.known, 1.0, UNTRAINED_WEIGHT).astype(np.float32)
        shared = np.float32(1.0 if self.known.any() else UNTRAINED_WEIGHT)
        return {
            "hidden.numerator": self.hidden * shared,
            "hidden.weight": np.array([shared]),
            "head.numerator": self.head * rows[:, None],
            "head.weight": rows,
        }


def train_round(recipe: LoraRecipe, state: CohortState, batch: TrainingBatch) -> list[Contribution]:
    """Train one round on N nodes as one batch; a pure function of its input."""
    nodes = len(batch.known)
    b = start_b = as_values(state.hidden).expand(nodes, -1, -1)
    head = start_head = as_values(state.head).expand(nodes, -1, -1)
    adam_b, adam_head = Adam(b), Adam(head)
    rows, shared = batch.known[:, :, None], batch.known.any(dim=1)[:, None, None] & recipe.train_hidden
    for _ in range(recipe.steps):
        for_b, for_head = batch.gradients(b, head, recipe.gain)
        b = torch.where(shared, adam_b.update(b, for_b, recipe.learning_rate), start_b)
        head = torch.where(rows, adam_head.update(head, for_head, recipe.learning_rate), start_head)
    return [
        Contribution(b[i].numpy(), head[i].numpy(), batch.known[i].numpy(), int(batch.clips[i]))
        for i in range(nodes)
    ]


def fed_average(messages: Sequence[tuple[Arrays, int]]) -> Arrays:
    """Return what Flower's FedAvg makes of arrays and their numbers of examples: the same operations.

    `flwr.serverapp.strategy.FedAvg` runs in a ServerApp; a replay has neither, and must give the same bits.
    """
    total = sum(float(examples) for _, examples in messages)
    average: dict[str, npt.NDArray[np.float32]] = {}
    for arrays, examples in messages:
        for name, values in arrays.items():
            share = values * (float(examples) / total)
            average[name] = average[name] + share if name in average else share
    return average


def averaged_state(tags: Sequence[str], average: Arrays) -> CohortState:
    """Return the state after a round: numerator over weight, rounded to integers.

    Raises
    ------
    RoundError
        If a value is not finite or too large: learning has diverged.
    """
    hidden = average["hidden.numerator"].astype(np.float64) / average["hidden.weight"].astype(np.float64)
    weight = average["head.weight"].astype(np.float64)
    head = average["head.numerator"].astype(np.float64) / weight[:, None]
    codes = [np.rint(values * 2.0**STATE_BITS) for values in (hidden, head)]
    if not all(np.isfinite(c).all() and np.abs(c).max(initial=0) <= _INT32_MAX for c in codes):
        raise RoundError(
            f"the averaged state does not fit into int32 at 2^-{STATE_BITS}: learning has diverged"
        )
    return CohortState(tuple(tags), *(torch.from_numpy(c.astype(np.int32)) for c in codes))


def training_cost(
    preset: Preset, recipe: LoraRecipe, inputs: int, hidden: int, people: int, clips: int
) -> Cost:
    """Return what a round costs one node: A x once a clip; each step forward, backward and Adam, fp32."""
    step = clips * (3 * hidden * recipe.rank + 3 * hidden * people)
    macs = clips * recipe.rank * inputs + recipe.steps * step
    parameters = hidden * (recipe.rank + people)
    return cost.digital_macs(preset, macs, cost.Precision.FP32) + cost.lora_update(
        preset, parameters, steps=recipe.steps, accesses_per_parameter=_ADAM_ACCESSES
    )


def _class_weights(target: Tensor, real: Tensor, own_share: float) -> Tensor:
    """Share out each row's loss: `own_share` among the person's clips, the rest among all others."""
    other = real.float() - target
    own = target / target.sum(dim=1, keepdim=True).clamp(min=1)
    return own_share * own + (1 - own_share) * other / other.sum(dim=1, keepdim=True).clamp(min=1)
