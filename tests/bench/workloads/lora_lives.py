"""LoRAs of one fleet in many lives: the same chips, with everybody or without somebody, trained as one batch.

Rounds are the engine's, averages the codec's; what is left out are tickets, seals and the way between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, JobTicket, LearningKind, SubjectAdapter
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import lora_shape, without
from torch import Tensor

from edge_node.recognition.engine import Engine, RoundRequest
from edge_node.recognition.lora.stage import Stage
from edge_node.tasks import StagedTask
from fleet.coordinator.learning.lora_state import installable
from fleet.lab.verification.metrics import Answers
from hwmodel import Phase, load_preset
from tests.bench.workloads.averaging import averaged

PRESET = "180nm-1t1r"
#: Nodes that each person shows up at.
PLACES = 2


@dataclass(frozen=True, eq=False)
class Life:
    """One LoRA of the fleet.

    Attributes
    ----------
    gone
        Who never enrolled in it, or was forgotten; "" for nobody.
    state
        What was learnt.
    absent
        Nodes that take no part in rounds.
    """

    gone: str
    state: StateArrays
    absent: tuple[int, ...] = ()


class LoraLives:
    """Chips of a staged task, in a life with everybody and in one without each of some people.

    Attributes
    ----------
    names
        Enrolled people: their tags, in the order of rows.
    train, test
        Codes, int32 ``[N, samples, F]`` by name.
    """

    def __init__(self, task: StagedTask, seed: int, gone: Sequence[str], nodes: int) -> None:
        self.names, self.nodes = tuple(sorted(task.split.enrolled)), nodes
        self._lives = ("", *gone)
        ids = [f"node-{1 + node}" for node in range(nodes)] * len(self._lives)
        # A chunk has no chip twice.
        self.engine = Engine.build(task, load_preset(PRESET), seed, ids, chunk=nodes)
        people = task.load_people()
        chips = range(nodes)
        self.train = {name: self.engine.capture(people[name].train, nodes=chips) for name in self.names}
        self.test = {name: self.engine.capture(people[name].test, nodes=chips) for name in self.names}
        self._shape = lora_shape(self.engine.features, seed, task.stage)
        self._taken = {name: self._captured(k, name) for k, name in enumerate(self.names)}
        for life in self._lives:
            for node in self._at(life):
                for name in self.names:
                    if name != life:
                        self._enrol(node, name)

    def _captured(self, number: int, name: str) -> dict[int, Tensor]:
        where = [(number * PLACES + k) % self.nodes for k in range(PLACES)]
        return {node: self.train[name][node, turn::PLACES] for turn, node in enumerate(where)}

    def _enrol(self, node: int, name: str) -> None:
        codes = torch.cat(list(self._taken[name].values()))
        total = codes.sum(dim=0).tolist()
        self.engine.set_subject(node, SubjectAdapter(subject_tag=name, count=len(codes), code_sum=total))

    def _at(self, gone: str) -> range:
        first = self._lives.index(gone) * self.nodes
        return range(first, first + self.nodes)

    def untrained(self, gone: str = "") -> Life:
        """Return the life in which nothing was learnt yet."""
        return Life(gone, StateArrays.empty(self.names, self._shape))

    def forgotten(self, life: Life, name: str) -> Life:
        """Return a life with a person's row and adapter destroyed, and all else as it was."""
        rows = life.state.rows.copy()
        rows[self.names.index(name)] = 0
        return replace(life, gone=name, state=replace(life.state, rows=rows))

    def rounds(self, lives: Sequence[Life], count: int, kind: LearningKind = LEARNING_KIND_TRAIN_LORA) -> list[Life]:
        """Return lives after some rounds, all in one batch; repairs have the forgotten person's samples to forget."""
        for _ in range(count):
            requests = [self._requests(life, kind) for life in lives]
            results = iter(self.engine.run_rounds([each for mine in requests for each in mine]))
            lives = [
                replace(life, state=averaged(life.state, [next(results) for _ in mine]))
                for life, mine in zip(lives, requests, strict=True)
            ]
        return list(lives)

    def _requests(self, life: Life, kind: LearningKind) -> list[RoundRequest]:
        repairs = kind != LEARNING_KIND_TRAIN_LORA
        ticket = JobTicket(
            kind=kind, subject_tags=self.names, lora=self._shape, forget_tags=[life.gone] if repairs else ()
        )
        state, chips = life.state.encode(), self._at(life.gone)
        return [
            RoundRequest(
                chips[node],
                ticket,
                state,
                {name: taken[node] for name, taken in self._taken.items() if node in taken and name != life.gone},
                {life.gone: self._taken[life.gone][node]} if repairs and node in self._taken[life.gone] else {},
            )
            for node in range(self.nodes)
            if node not in life.absent
        ]

    def answers(self, life: Life, codes: Tensor) -> Answers:
        """Return what the nodes of a life say of everybody to samples, codes ``[N, B, F]``."""
        return Answers.of(self.engine, codes, self.names, self._active(life))

    def margin(self, life: Life, name: str) -> float:
        """Return by how much a person's training samples are above the threshold, on average."""
        chips = self._active(life)
        score = self.engine.identify(self.train[name], Phase.VERIFY, chips, name).score
        return float((score - self.engine.accept_threshold[list(chips), None]).mean())

    def _active(self, life: Life) -> range:
        """Make what was learnt in a life active on its nodes; returns them."""
        chips, lora = self._at(life.gone), installable(life.state, self._shape)
        for node in chips:
            self.engine.set_lora(node, without(lora, [life.gone]))
        return chips

    def features(self, life: Life, codes: Tensor) -> Tensor:
        """Return what rows read of samples, float32 ``[N, B, width]``."""
        stage = Stage.of(self._shape)
        b = torch.from_numpy(life.state.branches[:1] * 2.0**-self._shape.scale_bits)
        return stage.samples(codes).read(b.expand(self.nodes, -1, -1))[0]
