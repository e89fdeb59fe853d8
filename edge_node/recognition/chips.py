"""Chips of the nodes of an engine, whose cells are in memory while they are used.

A chip is a function of fleet seed, node, task and age, so cells are regenerated rather than kept: of ten thousand
reservoirs they would take ten gigabytes. What a chip has read is kept, since it numbers the reads, which key their
noise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edge_node.backbones import Backbone
from edge_node.tasks import RecognitionTask
from hwmodel import Crossbar, EnergyLedger, Phase, Preset, age_step_s, relaxation_named


@dataclass(frozen=True, eq=False)
class CrossbarReads:
    """One crossbar of N chips: its shape, and what it has read.

    Attributes
    ----------
    layer, in_features, out_features
        As of `hwmodel.Crossbar`.
    reads, driven
        As of `hwmodel.Crossbar`, int64 [N].
    wear
        As of `hwmodel.Crossbar`, float64 [N].
    """

    layer: str
    in_features: int
    out_features: int
    reads: Tensor
    driven: Tensor
    wear: Tensor

    @classmethod
    def none(cls, crossbar: Crossbar | CrossbarReads, nodes: int) -> CrossbarReads:
        """Return the reads of so many chips with such a crossbar, of which none has read anything."""
        reads, driven = (torch.zeros(nodes, dtype=torch.int64) for _ in range(2))
        wear = torch.zeros(nodes, dtype=torch.float64)
        return cls(crossbar.layer, crossbar.in_features, crossbar.out_features, reads, driven, wear)

    def copy(self) -> CrossbarReads:
        """Return what was read until now."""
        return replace(self, reads=self.reads.clone(), driven=self.driven.clone())


@dataclass(frozen=True, eq=False)
class PublicSamples:
    """Samples that chips are calibrated on, and whose each is: the place among the sorted public people, int64 [P]."""

    samples: Sequence[np.ndarray]
    person: Tensor

    @classmethod
    def of(cls, task: RecognitionTask) -> PublicSamples:
        """Return those of a task."""
        public = sorted(task.public_samples().items())
        person = [index for index, (_, samples) in enumerate(public) for _ in samples]
        return cls([sample for _, samples in public for sample in samples], torch.tensor(person))


@dataclass(frozen=True, eq=False)
class _Programmed:
    """Cells of some nodes."""

    backbone: Backbone
    crossbars: tuple[Crossbar, ...]


class Chips:
    """Backbones of N chips, programmed by `program` and regenerated when they are used.

    Attributes
    ----------
    at_once
        Chips whose cells are in memory at most, those used last.
    cell_writes
        Pulses that programming gave to the cells of each node, int64 [N].
    crossbars
        What each chip consists of, as far as it charged a ledger under its own name; of chips that are programmed.
    calibrated
        The same, as `note_calibrated` found it.
    """

    def __init__(
        self,
        task: RecognitionTask,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        at_once: int,
        age_s: Callable[[], float],
    ) -> None:
        self._task, self._preset, self._fleet_seed, self._node_ids = task, preset, fleet_seed, tuple(node_ids)
        self._age_s, self._relaxation = age_s, relaxation_named(preset.models.relaxation)
        self.at_once = at_once
        self._held: OrderedDict[tuple[int, ...], _Programmed] = OrderedDict()
        self.cell_writes = torch.zeros(len(self._node_ids), dtype=torch.int64)
        self.crossbars: list[CrossbarReads] = []
        self.calibrated: tuple[CrossbarReads, ...] = ()
        self._calibrated_age_s = self.age_s

    @property
    def age_s(self) -> float:
        """Age of the cells that chips read by now; see `hwmodel.age_step_s`."""
        return age_step_s(self._relaxation, self._age_s())

    def chunks(self, nodes: Sequence[int]) -> list[Sequence[int]]:
        """Return nodes in parts that may be in memory at once."""
        return [nodes[start : start + self.at_once] for start in range(0, len(nodes), self.at_once)]

    def program(self, nodes: Sequence[int], ledger: EnergyLedger) -> None:
        """Program some chips for the first time; charged to the `Phase.PROGRAM` of a ledger of these nodes."""
        programmed = self._programmed(tuple(nodes), ledger)
        where = torch.tensor(nodes)
        self.cell_writes[where] = programmed.backbone.cell_writes
        for number, crossbar in enumerate(programmed.crossbars):
            if number == len(self.crossbars):
                self.crossbars.append(CrossbarReads.none(crossbar, len(self._node_ids)))
            self.crossbars[number].wear[where] = crossbar.wear

    def capture(
        self, samples: Sequence[np.ndarray], nodes: Sequence[int], ledger: EnergyLedger, phase: Phase
    ) -> Tensor:
        """Run samples through some chips, int32 [nodes, samples, features]; charged to a ledger of these nodes.

        See `Backbone.capture`.
        """
        programmed = self._held.get(tuple(nodes))
        if programmed is None:
            # It was paid for before.
            programmed = self._programmed(tuple(nodes), EnergyLedger(len(nodes)))
        self._held.move_to_end(tuple(nodes))
        where = torch.tensor(nodes)
        for counts, crossbar in zip(self.crossbars, programmed.crossbars, strict=True):
            crossbar.reads, crossbar.driven = counts.reads[where], counts.driven[where]
            crossbar.grow_to(self.age_s)
        try:
            return programmed.backbone.capture(samples, ledger, phase)
        finally:
            for counts, crossbar in zip(self.crossbars, programmed.crossbars, strict=True):
                counts.reads[where], counts.driven[where] = crossbar.reads, crossbar.driven

    def note_calibrated(self) -> None:
        """Note that all that was read until now are the public samples, which a chip reads at every start."""
        self.calibrated, self._calibrated_age_s = tuple(counts.copy() for counts in self.crossbars), self.age_s

    def restart(self, node: int) -> None:
        """Count a node's reads from after the public samples again."""
        for counts, calibrated in zip(self.crossbars, self.calibrated, strict=True):
            counts.reads[node], counts.driven[node] = calibrated.reads[node], calibrated.driven[node]

    def rewind(self, node: int) -> None:
        """Count a node's reads from the beginning again, where a start reads the public samples."""
        for counts in self.crossbars:
            counts.reads[node], counts.driven[node] = 0, 0

    @property
    def as_calibrated(self) -> bool:
        """Whether cells are of the age that `note_calibrated` found them at."""
        return self.age_s == self._calibrated_age_s

    def take(self, chips: Chips, first: int) -> None:
        """Take over what is known of chips, of which the first is number `first` here; their cells if that is all."""
        where = slice(first, first + len(chips.cell_writes))
        if len(chips.cell_writes) == len(self.cell_writes):
            self._held = chips._held
        self.cell_writes[where] = chips.cell_writes
        for number, taken in enumerate(chips.crossbars):
            if number == len(self.crossbars):
                self.crossbars.append(CrossbarReads.none(taken, len(self._node_ids)))
            counts = self.crossbars[number]
            counts.reads[where], counts.driven[where], counts.wear[where] = taken.reads, taken.driven, taken.wear

    def __getstate__(self) -> dict[str, object]:
        # Cells are regenerated.
        return {**self.__dict__, "_held": OrderedDict()}

    def _programmed(self, nodes: tuple[int, ...], ledger: EnergyLedger) -> _Programmed:
        while self._held and sum(map(len, self._held)) + len(nodes) > self.at_once:
            self._held.popitem(last=False)
        names = [self._node_ids[node] for node in nodes]
        backbone = self._task.program(self._preset, self._fleet_seed, names, ledger)
        # A plug-in's backbone says nothing of its crossbars; it is charged for them.
        programmed = _Programmed(backbone, tuple(part for part in ledger.parts if isinstance(part, Crossbar)))
        self._held[nodes] = programmed
        return programmed
