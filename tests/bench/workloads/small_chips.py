"""Workload `small chips`: what a LoRA beside every layer adds where frozen layers are small, by the product's rounds.

The machines: a layer of 64 columns that sees faces, reservoirs of four and of eight units that hear cepstra, and a
liquid of eight spiking neurons that hears sound. A seed draws roles, chips, and which two nodes each person's samples
are captured on. Beside the LoRA trained by federated rounds, the same recipe is run on everybody's samples at one node.

Three closed forms are beside it. Without a LoRA a chip has no A x, and people are known by what its neurons answer in
each segment, law(y); y itself, which no neuron passes on, tells more of them. The engine's own closed form is on all
captured codes, A x too: what is above that was trained.

Width, rank, segments and recipe were chosen on seeds 100 to 109.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from reram_fleet.code_ranges import LoraStage
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, JobTicket, LoraShape, SubjectAdapter
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import lora_shape
from torch import Tensor

from edge_node.recognition.engine import Engine, RoundRequest, RoundResult
from edge_node.tasks import RecognitionTask, SeededTask, StagedTask, load_task
from fleet.coordinator.learning.lora_state import initial_state, installable
from fleet.lab.fleets.neurons import answers, ask_neurons, drives
from fleet.lab.verification.metrics import auc
from hwmodel import keyed_uint16, load_preset
from tests.bench.workloads.averaging import averaged

#: Not used for any choice.
SEEDS = (800, 801, 802, 803, 804)
PRESET = "180nm-1t1r"
#: Nodes, by task: on each are as many people as on others, or nearly.
TASKS: Mapping[str, int] = {"faces-64": 10, "speakers-4": 4, "speakers-8": 4, "fsdd-8": 3}
NODES_PER_PERSON, ROUNDS = 2, 8


@dataclass(frozen=True)
class Rates:
    """Over all nodes, shares of 1; of enrolled people's test samples and of strangers' samples."""

    #: Test samples whose best person is the right one, accepted or not.
    accuracy: float
    #: Scores of test samples against those of strangers.
    auroc: float
    #: Strangers who are accepted at the threshold fixed beforehand.
    false_accepts: float


@dataclass(frozen=True)
class SmallChipsRun:
    """One task at one seed."""

    #: By what neurons answer alone: a chip without a LoRA.
    without_lora: Rates
    #: By what drove the neurons alone.
    drives: Rates
    #: By all captured codes, of which A x is a part.
    closed_form: Rates
    federated: Rates
    central: Rates


@dataclass(frozen=True, eq=False)
class SmallFleet:
    """Chips of one seed, and what they made of everybody's samples."""

    engine: Engine
    stage: LoraStage
    #: Captured codes of enrolled people by tag and node, each sample at one of the person's nodes.
    taught: Mapping[str, Mapping[int, Tensor]]
    asked: Tensor
    truth: Sequence[str]
    strange: Tensor

    @classmethod
    def of(cls, name: str, seed: int) -> SmallFleet:
        task = load_task(name)
        assert isinstance(task, RecognitionTask)
        assert isinstance(task, SeededTask)
        assert isinstance(task, StagedTask)
        task = task.with_seed(seed)
        nodes = range(TASKS[name])
        engine = Engine.build(task, load_preset(PRESET), seed, [f"node-{node}" for node in nodes])
        people, tags = task.load_people(), sorted(task.split.enrolled)
        taught = {}
        for tag in tags:
            draws = keyed_uint16(seed, "small chips.places", tag, count=len(nodes)).numpy()
            places = np.argsort(draws, kind="stable")[:NODES_PER_PERSON].tolist()
            codes = engine.capture(people[tag].train)
            taught[tag] = {node: codes[node, number::NODES_PER_PERSON] for number, node in enumerate(places)}
            whole = torch.cat(list(taught[tag].values())).long()
            adapter = SubjectAdapter(subject_tag=tag, count=len(whole), code_sum=whole.sum(dim=0).tolist())
            for node in nodes:
                engine.set_subject(node, adapter)
        strangers = [sample for each in task.split.strangers for sample in (*people[each].train, *people[each].test)]
        return cls(
            engine,
            task.stage,
            taught,
            engine.capture([sample for tag in tags for sample in people[tag].test]),
            [tag for tag in tags for _ in people[tag].test],
            engine.capture(strangers),
        )

    @property
    def nodes(self) -> range:
        """Places of the nodes."""
        return range(len(self.engine.node_ids))

    def rates(self) -> Rates:
        """Ask every node about everybody."""
        known, strange = (self.engine.identify(codes) for codes in (self.asked, self.strange))
        right = [[best == who for best, who in zip(row, self.truth, strict=True)] for row in known.best_tag]
        return Rates(float(np.mean(right)), auc(known.score, strange.score), float(strange.accepted.double().mean()))

    def of_neurons(self, part: Callable[[LoraStage, Tensor], Tensor]) -> Rates:
        """Ask every node with a part of the codes that has to do with neurons alone."""
        taught = {tag: torch.cat(list(codes.values())) for tag, codes in sorted(self.taught.items())}
        known, strange = (
            ask_neurons(self.engine, partial(part, self.stage), taught, codes) for codes in (self.asked, self.strange)
        )
        right = known.best == torch.tensor([list(taught).index(who) for who in self.truth])
        accepted = strange.accepted.double().mean()
        return Rates(float(right.double().mean()), auc(known.score, strange.score), float(accepted))

    @property
    def by_node(self) -> dict[int, dict[str, Tensor]]:
        """What each node captured, by person."""
        return {node: {tag: codes[node] for tag, codes in self.taught.items() if node in codes} for node in self.nodes}

    @property
    def shape(self) -> LoraShape:
        """Shape of the LoRA."""
        return lora_shape(self.stage.features, 1, self.stage)

    def learn(
        self,
        samples: Mapping[int, Mapping[str, Tensor]],
        rounds: int,
        computed: Callable[[Engine, Sequence[RoundRequest]], Sequence[RoundResult]] = Engine.run_rounds,
    ) -> StateArrays:
        """Train on some nodes by rounds, from nothing, by a way of one's choice to compute a round."""
        tags = sorted(self.taught)
        state = initial_state(tags, self.shape, None)
        for number in range(1, rounds + 1):
            ticket, before = _ticket(number, tags, self.shape), state.encode()
            requests = [RoundRequest(node, ticket, before, own, {}) for node, own in samples.items()]
            state = averaged(state, computed(self.engine, requests))
        return state

    def trained(self, samples: Mapping[int, Mapping[str, Tensor]]) -> Rates:
        """Train on some nodes by rounds, install on all, and ask; what was installed is taken away again."""
        state = self.learn(samples, ROUNDS)
        for node in self.nodes:
            self.engine.set_lora(node, installable(state, self.shape))
        rates = self.rates()
        for node in self.nodes:
            self.engine.set_lora(node, None)
        return rates


def run(name: str, seed: int) -> SmallChipsRun:
    """Measure one task at one seed."""
    fleet = SmallFleet.of(name, seed)
    pooled = {tag: torch.cat(list(codes.values())) for tag, codes in fleet.taught.items()}
    return SmallChipsRun(
        fleet.of_neurons(answers),
        fleet.of_neurons(drives),
        fleet.rates(),
        fleet.trained(fleet.by_node),
        fleet.trained({0: pooled}),
    )


def _ticket(number: int, tags: Sequence[str], shape: LoraShape) -> JobTicket:
    return JobTicket(job_id="job", round=number, kind=LEARNING_KIND_TRAIN_LORA, subject_tags=tags, lora=shape)
