"""Federated training under label skew: each node knows few of the people.

A softmax over the people of a node would teach it that only they exist. Here each row has a binary loss of its own,
over the node's people and public negatives, and counts only where the person is known; B is averaged over the nodes
that know anybody. With A frozen, the average of B is the average of the branch.

Between rounds everything is integers (`CohortState`), and within a round values on fixed-point grids whose sums are
exact (`edge_node.recognition.training.exact`): a node gives the same integers alone and in any batch, on any machine.
The mean over nodes is an integer sum and one division, so the order of messages does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import RoundError
from edge_node.recognition.training import exact
from edge_node.recognition.training.exact import (
    ERROR_BITS,
    PROJECTED_BITS,
    STATE_BITS,
    WEIGHT_BITS,
    class_weights,
    largest,
    on_grid,
)
from fleet.lab.replay.cohort_state import (
    DRIVE_BITS,
    HEAD_BITS,
    HIDDEN_BITS,
    LARGEST_HEAD,
    LARGEST_HIDDEN,
    CohortState,
    LoraRecipe,
    as_values,
    hidden,
    in_units,
    read_out,
)
from fleet.lab.replay.hidden_layer import PairCodes
from hwmodel import Cost, Preset, cost

#: Fraction bits of gradients.
GRADIENT_BITS = 22
_INT32_MAX = 2**31 - 1
_PRE_BITS = PROJECTED_BITS + HIDDEN_BITS

Arrays = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class NodeSamples:
    """Samples that one node has captured of a cohort: of people by tag, and public negatives, the same on every node.

    `centre` is the integer mean of ``max(y, 0)`` over the public samples, int32 ``[hidden]``.
    """

    node_id: str
    people: Mapping[str, PairCodes]
    public: PairCodes
    centre: Tensor

    def without(self, tag: str) -> NodeSamples:
        """Return the node's samples without a person's."""
        return replace(self, people={kept: codes for kept, codes in self.people.items() if kept != tag})


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Samples of N nodes in one round, padded to S samples; `of` makes it.

    All but `known` and `samples` is float64, each on the grid of so many fraction bits. `RoundError` if a value is not
    on its grid, or so large that a sum might not be exact.
    """

    #: ``[N, S, rank]`` at `PROJECTED_BITS`; ``[N, S, hidden]`` and ``[N, 1 or S, hidden]`` at `DRIVE_BITS`, in
    #: training's units.
    projected: Tensor
    drives: Tensor
    centre: Tensor
    #: 1 where sample and row are of the same person, ``[N, S, K]``.
    target: Tensor
    #: ``[N, S, K]`` at `WEIGHT_BITS`: for each row that the node knows, ``own_share`` on its samples, the rest on
    #: others.
    weight: Tensor
    #: bool ``[N, K]``.
    known: Tensor
    #: int64 ``[N]``: without padding.
    samples: Tensor

    def __post_init__(self) -> None:
        exact.check_grid(
            projected=(self.projected, PROJECTED_BITS),
            drives=(self.drives, DRIVE_BITS),
            centre=(self.centre, DRIVE_BITS),
            target=(self.target, 0),
            weight=(self.weight, WEIGHT_BITS),
        )
        people, width = self.target.shape[2], self.drives.shape[2]
        pre = largest(self.drives) + largest(self.projected.abs().sum(dim=2)) * LARGEST_HIDDEN
        h = pre + largest(self.centre)
        # A row's weights come to 1, so its errors to 1 and a rounding of each, however many samples there are.
        rounding = 2.0 ** -(ERROR_BITS + 1)
        errors = largest(self.weight.sum(dim=1)) + largest(self.samples) * rounding
        of_sample = largest(self.weight.sum(dim=2)) + people * rounding
        exact.check_sums(
            **{
                "hidden units": (pre, _PRE_BITS),
                "logits": (width * h * LARGEST_HEAD, _PRE_BITS + HEAD_BITS),
                "errors of hidden units": (of_sample * LARGEST_HEAD, ERROR_BITS + HEAD_BITS),
                "gradients of B": (
                    people * errors * LARGEST_HEAD * largest(self.projected),
                    ERROR_BITS + HEAD_BITS + PROJECTED_BITS,
                ),
                "gradients of rows": (errors * h, ERROR_BITS + _PRE_BITS),
            }
        )

    @classmethod
    def of(
        cls, recipe: LoraRecipe, nodes: Sequence[NodeSamples], tags: Sequence[str], negatives: Sequence[Tensor]
    ) -> TrainingBatch:
        """Gather the batch of the nodes that take part, each with the public samples of some indices, int64."""
        parts = []
        for node, chosen in zip(nodes, negatives, strict=True):
            mine = [tag for tag in tags if tag in node.people and node.people[tag].samples]
            codes = [*(node.people[tag] for tag in mine), node.public.at(chosen)]
            owner = torch.full((sum(c.samples for c in codes),), -1)
            owner[: len(owner) - len(chosen)] = torch.tensor(
                [row for row, tag in enumerate(tags) if tag in mine for _ in range(node.people[tag].samples)],
                dtype=torch.int64,
            )
            inputs = torch.cat([c.inputs for c in codes])
            parts.append((recipe.projected(inputs), torch.cat([c.drives for c in codes]), owner))
        padded = max(len(owner) for *_, owner in parts)
        owners = torch.stack([functional.pad(o, (0, padded - len(o)), value=-2) for *_, o in parts])
        target = (owners[:, :, None] == torch.arange(len(tags))).double()
        known = target.any(dim=1)
        real = (owners > -2)[:, :, None]
        return cls(
            torch.stack([functional.pad(p, (0, 0, 0, padded - len(p))) for p, *_ in parts]),
            torch.stack([in_units(functional.pad(d, (0, 0, 0, padded - len(d)))) for _, d, _ in parts]),
            in_units(torch.stack([node.centre for node in nodes]))[:, None],
            target,
            class_weights(target, real, recipe.own_share) * known[:, None],
            known,
            torch.tensor([len(o) for *_, o in parts]),
        )

    def pooled(self, recipe: LoraRecipe) -> TrainingBatch:
        """Return all samples as those of one node: what central training would see."""

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
            class_weights(target, real, recipe.own_share) * known[:, None],
            known,
            self.samples.sum()[None],
        )

    def as_if_all_known(self, recipe: LoraRecipe) -> TrainingBatch:
        """Return the batch of a plain FedAvg: every node trains every row, people it never met included."""
        weight = class_weights(self.target, self._real, recipe.own_share)
        return replace(self, weight=weight, known=torch.ones_like(self.known))

    @property
    def _real(self) -> Tensor:
        """What is not padding, bool ``[N, S, 1]``."""
        return (torch.arange(self.target.shape[1]) < self.samples[:, None])[:, :, None]

    def gradients(self, b: Tensor, head: Tensor, gain: int) -> tuple[Tensor, Tensor]:
        """Return the gradients of the weighted loss for B and for the rows, float64 ``[N, K, hidden]``."""
        pre, h = hidden(self.drives, self.projected, b, self.centre)
        error = exact.sigmoid(read_out(h, head, gain)).sub_(self.target).mul_(self.weight)
        error = on_grid(error, ERROR_BITS)
        behind = (error @ on_grid(head, HEAD_BITS, LARGEST_HEAD)).masked_fill_(pre <= 0, 0.0)
        return behind.mT @ self.projected, error.mT @ h


@dataclass(frozen=True, eq=False)
class Contribution:
    """Message of one node after a round; an untrained row goes back as it came."""

    #: float64 ``[hidden, rank]`` and ``[K, hidden]``, multiples of ``2^-STATE_BITS``.
    hidden: npt.NDArray[np.float64]
    head: npt.NDArray[np.float64]
    #: bool ``[K]``: people that it trained with.
    known: npt.NDArray[np.bool_]
    #: Samples that it trained with: the weight of its message in Flower's average.
    num_examples: int

    def arrays(self) -> Arrays:
        """Return numerators and weights, which a stock FedAvg averages (docs/adr/0004, 0013)."""
        rows = self.known.astype(np.float64)
        shared = rows.max(initial=0.0)
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
    adam_b, adam_head = (
        exact.Adam(start, recipe.learning_rate, recipe.steps, gradient_bits=GRADIENT_BITS) for start in (b, head)
    )
    rows, shared = batch.known[:, :, None], batch.known.any(dim=1)[:, None, None] & recipe.train_hidden
    for _ in range(recipe.steps):
        for_b, for_head = batch.gradients(b, head, recipe.gain)
        b = torch.where(shared, adam_b.update(b, for_b), start_b)
        head = torch.where(rows, adam_head.update(head, for_head), start_head)
    return [
        Contribution(b[i].numpy(), head[i].numpy(), batch.known[i].numpy(), int(batch.samples[i])) for i in range(nodes)
    ]


def fed_average(messages: Sequence[tuple[Arrays, int]]) -> Arrays:
    """Return what Flower's FedAvg makes of arrays and their numbers of examples: the same operations.

    `flwr.serverapp.strategy.FedAvg` runs in a ServerApp; a replay has neither.
    """
    total = sum(float(examples) for _, examples in messages)
    average: dict[str, npt.NDArray[np.float64]] = {}
    for arrays, examples in messages:
        for name, values in arrays.items():
            share = values * (float(examples) / total)
            average[name] = average[name] + share if name in average else share
    return average


def averaged_state(before: CohortState, messages: Sequence[tuple[Arrays, int]]) -> CohortState:
    """Return the state after a round: integer sums over nodes, divided once, half to even.

    FedAvg's average times all examples is nearly such a sum, so it is had back exactly, in whatever order messages,
    arrays and numbers of examples, come. What no node trained stays as it was `before`. `RoundError` if a value is not
    finite or too large: learning has diverged.
    """
    average, total = fed_average(messages), sum(examples for _, examples in messages)
    found = []
    for name, start in (("hidden", before.hidden), ("head", before.head)):
        numerator = f"{name}.numerator"
        most = sum(np.abs(arrays[numerator]).max(initial=1) * examples for arrays, examples in messages)
        # FedAvg rounds N + 2 times on the way to a sum: all of it together must stay below half a unit.
        if not most * 2.0**STATE_BITS * (len(messages) + 3) < 2.0**52:
            raise RoundError(f"{name} is not finite, or too large to be averaged: learning has diverged")
        sums = np.rint(average[numerator] * (2.0**STATE_BITS * total)).astype(np.int64)
        weight = np.rint(average[f"{name}.weight"] * total).astype(np.int64)[:, None]
        codes = np.where(weight > 0, _quotient(sums, np.maximum(weight, 1)), start.numpy())
        if np.abs(codes).max(initial=0) > _INT32_MAX:
            raise RoundError(f"{name} does not fit into int32 at 2^-{STATE_BITS}: learning has diverged")
        found.append(torch.from_numpy(codes.astype(np.int32)))
    return CohortState(before.tags, *found)


def _quotient(numerator: npt.NDArray[np.int64], weight: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Divide integers, half to even."""
    whole, rest = np.divmod(numerator, weight)
    up = (2 * rest > weight) | ((2 * rest == weight) & (whole % 2 == 1))
    quotient: npt.NDArray[np.int64] = whole + up
    return quotient


def training_cost(preset: Preset, recipe: LoraRecipe, inputs: int, hidden: int, people: int, samples: int) -> Cost:
    """Return what a round costs one node: A x once a sample; each step forward, backward and Adam, fp32."""
    step = samples * (3 * hidden * recipe.rank + 3 * hidden * people)
    macs = samples * recipe.rank * inputs + recipe.steps * step
    parameters = hidden * (recipe.rank + people)
    return cost.digital_macs(preset, macs, cost.Precision.FP32) + cost.lora_update(
        preset, parameters, steps=recipe.steps, accesses_per_parameter=cost.ADAM_ACCESSES
    )
