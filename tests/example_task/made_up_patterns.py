"""A task with a backbone of its own: made-up people, each a pattern of sixteen numbers that nobody's data are in.

Of a torch model and a folder `fleet task new` makes a task without any of this (docs/own-task.md). This one has all
that a recognition task needs (`edge_node.tasks.RecognitionTask`): people with their roles, samples, and a backbone that
is programmed into the chips. To make yours, replace `load_people` by what reads your data, and the backbone by one of
`edge_node.backbones`, or keep this one: it takes any samples of so many frames and channels.

torch and the chip model are imported where they are used. A coordinator loads this module too, for `CODES`, and has
neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from reram_fleet.code_ranges import CodeRange

from edge_node.tasks import Person, Split

if TYPE_CHECKING:
    from torch import Tensor

    from hwmodel import Crossbar, EnergyLedger, Phase, Preset

#: A sample is float32 [FRAMES, CHANNELS]: four readings of one pattern, each with noise of its own.
FRAMES, CHANNELS = 4, 16
NOISE = 0.3
TRAINING_SAMPLES, TEST_SAMPLES = 10, 10
#: Random directions that the chips compare a reading with; what is on either side of one is a feature of its own.
DIRECTIONS = 64
#: DAC codes per unit of a sample, within -127 to 127.
GAIN = 32

#: What the coordinator holds every contribution against: features of a sample, and the largest code of one. Measure the
#: second on your data, and leave room: a node refuses a sample that is beyond it.
CODES = CodeRange(2 * DIRECTIONS, 2**10 - 1)


@dataclass(frozen=True, eq=False)
class RandomDirections:
    """A backbone (`edge_node.backbones.Backbone`): random signs on the crossbars of N nodes, the same targets on each.

    All of it is in integers, so codes are bitwise equal for any batch, order and number of nodes.
    """

    crossbar: Crossbar

    @property
    def features(self) -> int:
        """Feature codes per sample."""
        return 2 * DIRECTIONS

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.crossbar.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Return int32 [N, samples, features]; every node gets all samples, and is charged for reading them."""
        import torch

        from edge_node.errors import SampleError

        for sample in samples:
            # Samples come from applications: what does not fit is refused before anything is computed.
            if sample.dtype != np.float32 or sample.shape != (FRAMES, CHANNELS) or not np.isfinite(sample).all():
                raise SampleError(f"a sample is finite float32 [{FRAMES}, {CHANNELS}]; got {list(sample.shape)}")
        readings = np.stack(samples) if samples else np.zeros((0, FRAMES, CHANNELS), np.float32)
        codes = torch.from_numpy(np.clip(np.rint(readings * GAIN), -127, 127).astype(np.int32))
        everywhere = codes.reshape(1, -1, CHANNELS).expand(len(self.crossbar.nodes), -1, -1)
        driven = self.crossbar.mvm(everywhere, ledger=ledger, phase=phase)
        sides = torch.cat([driven.clamp(min=0), (-driven).clamp(min=0)], dim=-1)
        return sides.unflatten(1, (len(samples), FRAMES)).sum(dim=2).to(torch.int32)


@dataclass(frozen=True)
class PatternsTask:
    """The task: an entry point names one object of this class."""

    #: Disjoint roles. A node reads samples of public people by itself; enrolled ones are whom demos and verification
    #: enrol and forget; strangers are never enrolled, and tell whether anybody is accepted.
    split: Split
    #: The name of the entry points.
    name: str = "patterns"

    def load_people(self) -> Mapping[str, Person]:
        """Return everybody, by name. Read your data here; raise `edge_node.errors.TaskError` if they are missing."""
        everybody = (*self.split.public, *self.split.enrolled, *self.split.strangers)
        return {name: _made_up(name, number) for number, name in enumerate(sorted(everybody))}

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return what a node calibrates its chip with: public people only, three of them or more."""
        people = self.load_people()
        return {name: people[name].train for name in self.split.public}

    def program(
        self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger
    ) -> RandomDirections:
        """Program the backbone into the crossbars of these nodes, each with programming errors of its own."""
        from edge_node.backbones.random_signs import program_signs

        return RandomDirections(
            program_signs(
                preset,
                fleet_seed,
                node_ids,
                ledger,
                layer="patterns",
                outputs=DIRECTIONS,
                inputs=CHANNELS,
                input_rms=GAIN,
            )
        )


def _made_up(name: str, number: int) -> Person:
    draws = np.random.default_rng(number)
    pattern = draws.normal(size=CHANNELS)
    samples = pattern + NOISE * draws.normal(size=(TRAINING_SAMPLES + TEST_SAMPLES, FRAMES, CHANNELS))
    shots = tuple(samples.astype(np.float32))
    return Person(name, shots[:TRAINING_SAMPLES], shots[TRAINING_SAMPLES:])


PATTERNS = PatternsTask(
    Split(
        public=("p01", "p02", "p03", "p04", "p05"),
        enrolled=("p06", "p07", "p08", "p09"),
        strangers=("p10", "p11"),
    )
)
