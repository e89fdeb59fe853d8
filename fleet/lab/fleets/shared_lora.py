"""A shared LoRA on a network of two layers: what approximate forgetting is tried on.

::

    x  captured codes, as DAC codes      z = W x   random signs on every chip's crossbars, never trained
    h  = relu(z + B A x) - public mean   A frozen random signs, B the shared LoRA
    logit of person k = V_k h - GAIN / 2

Everybody's samples move B, so no row of it is anybody's: a person cannot be cut out, only trained out. V has a row per
person and starts from the closed form (ridge on everybody's and the public people's hidden codes). Trained federated: a
few steps on every node, then an average over the nodes that know a row. Loss, per person, binary: own samples against
all others and the public people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.backbones.random_signs import keyed_signs
from edge_node.recognition.lora.output_layer import frozen_a
from edge_node.recognition.training.exact import class_shares
from fleet.lab.paper.methods import Adam, Adapter
from hwmodel import Crossbar, Preset

HIDDEN = 256
RANK = 8
GAIN = 10.0
#: Score at which a person's logit is 0: halfway between a stranger's 0 and the 1 that the closed form aims at.
MIDDLE = 0.5
#: Of one node's round; a job has several rounds.
STEPS, LEARNING_RATE = 10, 0.003
ROUNDS = 8
#: Weight of a person's own samples in their row's loss.
OWN_SHARE = 0.5
#: Ridge of the closed form, in mean diagonal elements of the Gram matrix.
RIDGE = 0.03
#: Root mean square of the DAC codes aimed at: three of it fit into the range.
_CODE_RMS = 40.0
_HIDDEN_SCALE, _PROJECTED_SCALE = 128.0, 2048.0
#: Weight in an average of a node that has not trained a row.
_UNTRAINED = 1e-6


@dataclass(frozen=True, eq=False)
class Views:
    """Output of the frozen parts for S samples on N nodes: all that training and serving need of them."""

    #: A x, float32 [N, S, rank].
    projected: Tensor
    #: z, float32 [N, S, H].
    hidden: Tensor

    def of_nodes(self, node: int, samples: slice) -> Views:
        """Return one node's view of some of the samples."""
        return Views(self.projected[[node], samples], self.hidden[[node], samples])


def joined(parts: Sequence[Views]) -> Views:
    """Return the views of several people as one batch."""
    return Views(torch.cat([p.projected for p in parts], 1), torch.cat([p.hidden for p in parts], 1))


def padded(parts: Sequence[Views]) -> tuple[Views, Tensor]:
    """Stack single nodes' views [1, S_n, ...] along the node axis; return what is real too, bool [N, S]."""
    longest = max(p.hidden.shape[1] for p in parts)

    def fill(t: Tensor) -> Tensor:
        return functional.pad(t, (0, 0, 0, longest - t.shape[1]))

    counts = torch.tensor([p.hidden.shape[1] for p in parts])
    views = Views(torch.cat([fill(p.projected) for p in parts]), torch.cat([fill(p.hidden) for p in parts]))
    return views, torch.arange(longest)[None] < counts[:, None]


@dataclass(frozen=True, eq=False)
class SharedNetwork:
    """The frozen parts on N nodes; made by `program`."""

    #: W, [H, F].
    crossbar: Crossbar
    #: Right shift that brings captured codes into the DAC's range.
    shift: int
    #: Public mean of relu(z), float32 [N, 1, H].
    centre: Tensor
    #: The frozen factor A, float64 [rank, F].
    a: Tensor

    def of_nodes(self, nodes: Sequence[int]) -> SharedNetwork:
        """Return the same for some nodes' views; their chips are not asked again."""
        return replace(self, centre=self.centre[list(nodes)])

    @classmethod
    def program(
        cls, public: Tensor, preset: Preset, fleet_seed: int, node_ids: Sequence[str], hidden: int = HIDDEN
    ) -> SharedNetwork:
        """Write W to every chip and centre on the public people's codes, int32 [N, P, F]."""
        features = public.shape[2]
        rms = float(public.double().square().mean().sqrt())
        crossbar = Crossbar.program(
            keyed_signs(hidden, features, fleet_seed, "shared_lora.hidden"),
            preset,
            fleet_seed=fleet_seed,
            nodes=node_ids,
            layer="shared_lora.hidden",
            input_rms=_CODE_RMS,
        )
        shift = max(0, round(math.log2(max(rms, 1.0) / _CODE_RMS)))
        empty = torch.zeros(len(node_ids), 1, hidden)
        a = frozen_a(fleet_seed, RANK, features)
        network = cls(crossbar, shift, empty, a)
        return replace(network, centre=network.views(public).hidden.relu().mean(1, keepdim=True))

    def views(self, codes: Tensor) -> Views:
        """Return what the frozen parts make of captured codes, int32 [N, S, F]."""
        half = (1 << self.shift) >> 1
        driven = ((codes + half) >> self.shift).clamp(-127, 127).to(torch.int32)
        projected = driven.double() @ self.a.mT / _PROJECTED_SCALE
        return Views(projected.float(), self.crossbar.mvm(driven).float() / _HIDDEN_SCALE)

    def features(self, adapter: Adapter, views: Views) -> Tensor:
        """Return h, float32 [N, S, H]: what a probe of the representation sees."""
        return (views.hidden + views.projected @ adapter[0].mT).relu() - self.centre

    def logits(self, adapter: Adapter, views: Views) -> Tensor:
        """Return logits, float32 [N, S, K], of an adapter: B [N or 1, H, rank] and V [N or 1, K, H]."""
        return self.features(adapter, views) @ adapter[1].mT - GAIN * MIDDLE


@dataclass(frozen=True, eq=False)
class LabelledViews:
    """Training samples of N nodes, padded."""

    #: People's own, then the public people's.
    views: Views
    #: 1 where sample and row are of the same person, float32 [N, S, K].
    target: Tensor
    #: float32 [N, S, K]; 0 for padding, and for rows of people whom the node does not know.
    weight: Tensor
    #: bool [N, K].
    knows: Tensor

    @classmethod
    def of(
        cls, people: Sequence[Mapping[int, Views]], public: Sequence[Views], classes: int, own_share: float
    ) -> LabelledViews:
        """Return the samples of each node: its people's by their class, and its negatives.

        `own_share` is the weight of a person's own samples in their row's loss.
        """
        views, real = padded([joined([*mine.values(), p]) for mine, p in zip(people, public, strict=True)])
        target = torch.zeros(*real.shape, classes)
        for node, mine in enumerate(people):
            at = 0
            for label, samples in mine.items():
                count = samples.hidden.shape[1]
                target[node, at : at + count, label] = 1.0
                at += count
        knows = target.any(dim=1)
        weight = class_shares(target, real[:, :, None], own_share)
        return cls(views, target, weight * knows[:, None], knows)

    def loss(self, network: SharedNetwork, adapter: Adapter) -> Tensor:
        """Return the loss of each node, float32 [N]: the mean over its rows would hide small nodes."""
        losses = functional.binary_cross_entropy_with_logits(
            network.logits(adapter, self.views), self.target, reduction="none"
        )
        return (losses * self.weight).sum(dim=(1, 2))


def closed_form(network: SharedNetwork, samples: LabelledViews, public: Views) -> Adapter:
    """Return B = 0 and V by ridge on everybody's hidden codes, what training starts from: [1, ...] each."""
    classes, hidden = samples.target.shape[2], network.centre.shape[2]
    zero = torch.zeros(1, hidden, RANK)
    features = network.features((zero, zero), samples.views).double()
    own = samples.target.any(dim=2)
    negatives = network.features((zero, zero), public).double().flatten(end_dim=1)
    rows = torch.cat([features[own], negatives])
    targets = torch.cat([samples.target[own].double(), torch.zeros(len(negatives), classes).double()])
    gram = rows.mT @ rows
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(hidden, dtype=torch.float64)
    return zero, GAIN * torch.linalg.solve(gram + ridge, rows.mT @ targets).mT[None].float()


def averaged(adapter: Adapter, before: Adapter, trained_b: Tensor, trained_v: Tensor) -> Adapter:
    """Average nodes' adapters into one [1, ...]: what a stock federated average of weighted rows computes.

    `adapter` is [N, ...], after the round. `before`, what went out, [1, ...], stays where nobody trained: which nodes
    trained B, bool [N], and which rows of V, bool [N, K].
    """
    parts = []
    for now, then, trained in zip(adapter, before, (trained_b[:, None, None], trained_v[:, :, None]), strict=True):
        weight = torch.where(trained, 1.0, _UNTRAINED)
        parts.append((torch.where(trained, now, then) * weight).sum(0, keepdim=True) / weight.sum(0, keepdim=True))
    return parts[0], parts[1]


def stepped(network: SharedNetwork, samples: LabelledViews, adapter: Adapter, optimisers: Sequence[Adam]) -> Adapter:
    """Return every node's adapter, [N, ...], after one step on its own samples."""
    leaves = tuple(part.requires_grad_() for part in adapter)
    gradients = torch.autograd.grad(samples.loss(network, leaves).sum(), leaves)
    return tuple(
        adam.update(part.detach(), gradient, LEARNING_RATE)
        for adam, part, gradient in zip(optimisers, leaves, gradients, strict=True)
    )


def train(network: SharedNetwork, samples: LabelledViews, start: Adapter, rounds: int = ROUNDS) -> Adapter:
    """Train for some rounds; return the average after the last, [1, ...] each."""
    now, nodes = start, len(samples.knows)
    for _ in range(rounds):
        local: Adapter = tuple(part.expand(nodes, *part.shape[1:]).clone() for part in now)
        optimisers = [Adam(part) for part in local]
        for _ in range(STEPS):
            local = stepped(network, samples, local, optimisers)
        now = averaged(local, now, samples.knows.any(dim=1), samples.knows)
    return now
