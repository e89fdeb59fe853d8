"""A fleet that knows faces: chips, who enrolled where, captured codes. What the face workloads start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter
from torch import Tensor

from edge_node.backbones.filters import COARSE, FilterBank, FilterLayout
from edge_node.recognition.engine import Engine
from edge_node.tasks.faces import FacesTask
from fleet.heads.enrolment import CodeSum, NodeShare, SufficientStatistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics
from hwmodel import ConstantProgrammingError, DeviceModels, EnergyLedger, Preset, keyed_uint16, load_preset

PRESET = "180nm-1t1r"
NODES = 8
#: A person shows up at one to this many nodes.
MAX_SPREAD = 3


class PerfectFaces(FacesTask):
    """The same task on chips without any programming error; converters as they are."""

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> FilterBank:
        """Program the filters into perfect cells."""
        perfect = DeviceModels(ConstantProgrammingError(0.0))
        return FilterBank.program(preset, fleet_seed, node_ids, ledger, perfect, self.layout)


@dataclass(frozen=True, eq=False)
class FaceFleet:
    """Codes of everybody on every chip, int32 and centred as `Engine.capture` returns them.

    Attributes
    ----------
    engine
        The nodes; nobody is active on them.
    public
        Of the public people, every photo.
    enrolled
        Names of the enrolled people, which serve as tags.
    train, test
        ``[N, 5, F]`` by name of the enrolled people.
    strangers
        ``[N, 100, F]``.
    places
        Nodes that each enrolled person shows up at, by name.
    """

    engine: Engine
    public: PublicCodes
    enrolled: tuple[str, ...]
    train: Mapping[str, Tensor]
    test: Mapping[str, Tensor]
    strangers: Tensor
    places: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, seed: int, *, nodes: int = NODES, perfect: bool = False, layout: FilterLayout = COARSE) -> FaceFleet:
        """Program the chips of a seed and show everybody's photos to all of them.

        Parameters
        ----------
        seed
            Of the split, of the chips, and of who shows up where.
        nodes
            How many.
        perfect
            Whether cells take their conductances without an error.
        layout
            Of the filters; two-layer networks are tuned to the default.

        Raises
        ------
        TaskError
            If the photos are not there.
        """
        kind = PerfectFaces if perfect else FacesTask
        task = kind(FacesTask.of(seed).split, seed, layout)
        ids = [f"n{node}" for node in range(nodes)]
        engine = Engine.build(task, load_preset(PRESET), seed, ids)
        people = task.load_people()
        samples = [photo for name in task.split.public for photo in (*people[name].train, *people[name].test)]
        person = np.repeat(np.arange(len(task.split.public)), len(samples) // len(task.split.public))
        shown = [photo for name in task.split.strangers for photo in (*people[name].train, *people[name].test)]
        return cls(
            engine,
            PublicCodes(engine.capture(samples).numpy(), person),
            tuple(sorted(task.split.enrolled)),
            {name: engine.capture(people[name].train) for name in task.split.enrolled},
            {name: engine.capture(people[name].test) for name in task.split.enrolled},
            engine.capture(shown),
            {name: _places(seed, name, nodes) for name in task.split.enrolled},
        )

    def captured(self, name: str) -> dict[int, Tensor]:
        """Return a person's training codes by the node that took them: each photo was taken once."""
        where = self.places[name]
        return {node: self.train[name][node, k :: len(where)] for k, node in enumerate(where)}

    def captured_by_node(self, names: Sequence[str] | None = None) -> dict[int, Tensor]:
        """Return the training codes that each node took of these people, by default of all."""
        taken: dict[int, list[Tensor]] = {}
        for name in self.enrolled if names is None else names:
            for node, codes in self.captured(name).items():
                taken.setdefault(node, []).append(codes)
        return {node: torch.cat(parts) for node, parts in sorted(taken.items())}

    def share(self, node: int, names: Sequence[str] | None = None) -> NodeShare | None:
        """Return what a node contributes for these people (all by default); None if it knows none of them."""
        mine = {
            name: self.captured(name)[node].numpy()
            for name in (self.enrolled if names is None else names)
            if node in self.places[name]
        }
        if not mine:
            return None
        together = HeadStatistics.of(np.concatenate(list(mine.values())))
        people = {name: CodeSum(codes.sum(axis=0, dtype=np.int64), len(codes)) for name, codes in mine.items()}
        return NodeShare(together, people)

    def books(self, names: Sequence[str] | None = None) -> SufficientStatistics:
        """Return the books after these people (all by default) enrolled, and nobody else ever did."""
        books = SufficientStatistics.empty(self.public)
        for node in range(len(self.engine.node_ids)):
            share = self.share(node, names)
            if share is not None:
                books = books.with_share(share)
        return books

    def subject_adapters(self, names: Sequence[str] | None = None) -> list[SubjectAdapter]:
        """Return the people's subject adapters: integer sums over nodes."""
        sums = self.books(names).people
        return [
            SubjectAdapter(subject_tag=tag, count=sums[tag].count, code_sum=sums[tag].code_sum.tolist())
            for tag in sorted(sums)
        ]

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


def _places(seed: int, name: str, nodes: int) -> tuple[int, ...]:
    draws = keyed_uint16(seed, "faces.places", name, count=nodes + 1).numpy()
    spread = 1 + int(draws[-1]) % min(MAX_SPREAD, nodes)
    return tuple(np.argsort(draws[:-1], kind="stable")[:spread].tolist())
