"""Captured fleet: everybody's codes on every chip of a recognition task, and who enrolled where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter
from torch import Tensor

from edge_node.errors import TaskError
from edge_node.recognition.engine import Engine
from edge_node.recognition.head_share import packed_statistics
from edge_node.tasks import RecognitionTask
from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.public import PublicCodes
from hwmodel import keyed_uint16, load_preset

PRESET = "180nm-1t1r"
NODES = 3


@dataclass(frozen=True, eq=False)
class CapturedFleet:
    """Codes of everybody on every chip, int32 and centred as `Engine.capture` returns them."""

    #: The nodes; nobody is active on them.
    engine: Engine
    public: PublicCodes
    #: Names of the enrolled people, which serve as tags; sorted.
    enrolled: tuple[str, ...]
    #: ``[N, samples, F]`` by name of the enrolled people.
    train: Mapping[str, Tensor]
    test: Mapping[str, Tensor]
    #: ``[N, samples, F]``.
    strangers: Tensor
    #: Nodes that each enrolled person shows up at, by name.
    places: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(
        cls, task: RecognitionTask, seed: int, nodes: int = NODES, places: Mapping[str, tuple[int, ...]] | None = None
    ) -> CapturedFleet:
        """Program the chips of a seed and show everybody's samples to all of them.

        Without `places`, each person shows up at two neighbouring nodes. `TaskError` if the task's data are not here,
        or nobody of it is enrolled or a stranger.
        """
        split, enrolled = task.split, tuple(sorted(task.split.enrolled))
        if not enrolled or not split.strangers:
            raise TaskError(
                f"the split of task {task.name} has {len(enrolled)} enrolled people and "
                f"{len(split.strangers)} strangers: it takes both"
            )
        people, public = task.load_people(), task.public_samples()
        engine = Engine.build(task, load_preset(PRESET), seed, [f"n{node}" for node in range(nodes)])
        shown = [sample for name in split.strangers for sample in (*people[name].train, *people[name].test)]
        return cls(
            engine,
            PublicCodes(
                engine.capture([sample for samples in public.values() for sample in samples]).numpy(),
                np.repeat(np.arange(len(public)), [len(samples) for samples in public.values()]),
            ),
            enrolled,
            {name: engine.capture(people[name].train) for name in split.enrolled},
            {name: engine.capture(people[name].test) for name in split.enrolled},
            engine.capture(shown),
            places or {name: (k % nodes, (k + 1) % nodes) for k, name in enumerate(enrolled)},
        )

    def captured(self, name: str) -> dict[int, Tensor]:
        """Return a person's training codes by the node that took them: each sample was taken once."""
        where = self.places[name]
        return {node: self.train[name][node, k :: len(where)] for k, node in enumerate(where)}

    def packed(self, names: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield what nodes contribute of these people (all by default): tag, and packed statistics of one node."""
        for name in self.enrolled if names is None else names:
            for codes in self.captured(name).values():
                yield name, packed_statistics(codes)

    def statistics(self, names: Sequence[str] | None = None) -> SufficientStatistics:
        """Return the sum of what these people (all by default) contributed, when nobody else ever did."""
        return SufficientStatistics.of_packed(self.public, self.packed(names))

    def subject_adapters(self, names: Sequence[str] | None = None) -> list[SubjectAdapter]:
        """Return the people's subject adapters, by tag: integer sums over nodes."""
        adapters = []
        for name in sorted(self.enrolled if names is None else names):
            codes = torch.cat(list(self.captured(name).values()))
            adapters.append(SubjectAdapter(subject_tag=name, count=len(codes), code_sum=codes.sum(dim=0).tolist()))
        return adapters

    def activate(self, names: Sequence[str] | None = None) -> None:
        """Make exactly these people's subject adapters active on every node."""
        adapters = self.subject_adapters(names)
        for node in range(len(self.engine.node_ids)):
            self.engine.drop_subjects(node, self.enrolled)
            for adapter in adapters:
                self.engine.set_subject(node, adapter)

    @cached_property
    def asked(self) -> tuple[Tensor, tuple[str, ...]]:
        """Test codes of all enrolled people [N, B, F], and whose each sample is."""
        codes = torch.cat([self.test[name] for name in self.enrolled], dim=1)
        return codes, tuple(name for name in self.enrolled for _ in range(self.test[name].shape[1]))


def share_named(named: Sequence[Sequence[str]], truth: Sequence[str]) -> float:
    """Return the share (0..1) of samples that all nodes together name rightly: `named` is by node and sample."""
    right = [tag == true for row in named for tag, true in zip(row, truth, strict=True)]
    return sum(right) / len(right)


def chosen(seed: int, names: Sequence[str], count: int) -> list[str]:
    """Return the people whom a seed forgets."""
    draws = keyed_uint16(seed, "repair.forgotten", count=len(names)).numpy()
    return [names[i] for i in np.argsort(draws, kind="stable")[:count]]
