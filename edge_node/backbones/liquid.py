"""Backbone of raw speech as spikes: the paper's liquid state machine, 140 channels and 512 neurons, T = 10.

arXiv 2601.10037 trains its machine (`fleet.lab.paper.networks.lsm` is that one); this one is frozen: random signs
drawn from the fleet seed, on crossbars, in integers. Only spikes go onto the rows, as DAC code 0 or 127. A
sample is cut into runs of ten frames of 10 ms, and the machine starts each of them at rest; what is left over
at the end is dropped. Channel (band, k) spikes in a frame whose log-mel level is above threshold k, so that
70 bands and 2 thresholds make 140 channels. One step, with m in 1/4096 of the neurons' threshold::

    m  = (m >> 1) (1 - h) + (a (W s) + b (R h) + 2^15) >> 16
    h  = 1 if m > 4096 else 0

Features are each neuron's spikes, and its membrane summed over the steps (within four thresholds), both as means over
the runs. Tried with three of the seven training digits held out in turn: one run over the whole sample, cut into ten
longer steps, .900; ten-frame runs .915; with 20 bands and 7 thresholds .858, with 70 and 2 .923.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.backbones import rounded_mean
from edge_node.backbones.log_mel import OCTAVE, LogMel, frames_of
from edge_node.backbones.random_signs import program_signs
from hwmodel import Cost, Crossbar, EnergyLedger, Phase, Preset, cost

BANDS, NEURONS, STEPS = 70, 512, 10
#: Levels above which a channel spikes, in 1/256 octaves of power: about thirds of speech.
LEVELS = (32 * OCTAVE, 37 * OCTAVE)
CHANNELS = BANDS * len(LEVELS)
#: Spread of the current of half of the channels, and of three tenths of the neurons, in thresholds.
INPUT_GAIN, RECURRENT_GAIN = 1.0, 0.3
#: Feature codes per spike, and per threshold of membrane.
SPIKE_CODE, MEMBRANE_CODE = 64, 32

_FULL_CODE = 127
#: Runs computed at once: bounds scratch memory for many nodes.
_CHUNK = 512
_INPUT_SHARE, _RECURRENT_SHARE = 0.5, 0.3
#: Fraction bits of membranes.
MEMBRANE_BITS = 12
_MULTIPLIER_BITS = 16
_ONE = 1 << MEMBRANE_BITS
_MEMBRANE_LIMIT = 4 * _ONE


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of ten frames, which start at rest.

    Attributes
    ----------
    spikes
        int32 ``[R, 10, 140]`` of 0 and 1.
    owner, number
        Whose sample's each is, and which of its runs, int64 [R].
    count
        Runs of each sample, int64 [S].
    """

    spikes: Tensor
    owner: Tensor
    number: Tensor
    count: Tensor

    def parts(self) -> Iterator[Runs]:
        """Yield runs that are computed at once."""
        for start in range(0, len(self.spikes), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield Runs(self.spikes[part], self.owner[part], self.number[part], self.count)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of R runs.

    Attributes
    ----------
    spikes, before
        Of channels ``[R, 140]``, and of neurons in the step before ``[N, R, neurons]``: what drove the two crossbars.
    membrane
        In 1/4096 thresholds, within four thresholds, int32 ``[N, R, neurons]``.
    fired
        Spikes that follow.
    """

    spikes: Tensor
    before: Tensor
    membrane: Tensor
    fired: Tensor


@dataclass(frozen=True, eq=False)
class Liquid:
    """Liquid state machines of N chips.

    Attributes
    ----------
    entry, recurrent
        ``[neurons, 140]`` and ``[neurons, neurons]`` signs on the tiles of every node.
    """

    entry: Crossbar
    recurrent: Crossbar
    _multipliers: tuple[int, int]
    _front_end: LogMel
    _preset: Preset

    @classmethod
    def program(
        cls,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
        neurons: int = NEURONS,
    ) -> Liquid:
        """Program the random matrices into every node's crossbars; charged to `Phase.PROGRAM`."""

        def crossbar(layer: str, inputs: int, share: float) -> Crossbar:
            return program_signs(
                preset,
                fleet_seed,
                node_ids,
                ledger,
                layer=layer,
                outputs=neurons,
                inputs=inputs,
                input_rms=_FULL_CODE * math.sqrt(share),
            )

        def multiplier(of: Crossbar, gain: float, share: float) -> int:
            unit = of.scale / _FULL_CODE * gain / math.sqrt(share * of.in_features)
            return round(unit * (1 << (MEMBRANE_BITS + _MULTIPLIER_BITS)))

        entry = crossbar("liquid.entry", CHANNELS, _INPUT_SHARE)
        recurrent = crossbar("liquid.recurrent", neurons, _RECURRENT_SHARE)
        multipliers = (
            multiplier(entry, INPUT_GAIN, _INPUT_SHARE),
            multiplier(recurrent, RECURRENT_GAIN, _RECURRENT_SHARE),
        )
        return cls(entry, recurrent, multipliers, LogMel(BANDS), preset)

    @property
    def neurons(self) -> int:
        """Neurons of the machine."""
        return self.entry.out_features

    @property
    def features(self) -> int:
        """Feature codes per sample: spikes and membrane of each neuron."""
        return 2 * self.neurons

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.entry.cell_writes + self.recurrent.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples, float32 [length, 1] at 8 kHz, through every chip; see `Backbone.capture`."""
        runs = self.runs(samples)
        sums = torch.zeros(len(self.entry.nodes), len(samples), self.features, dtype=torch.int64)
        for part in runs.parts():
            sums.index_add_(1, part.owner, self._sums(part, ledger, phase))
        self.charge(runs, samples, ledger, phase)
        return rounded_mean(sums, runs.count[None, :, None]).to(torch.int32)

    def runs(self, samples: Sequence[np.ndarray]) -> Runs:
        """Return the runs of samples; raises as `spikes`."""
        trains = [self.spikes(sample) for sample in samples]
        count = torch.tensor([len(train) for train in trains], dtype=torch.int64)
        first = torch.cat([torch.arange(len(train)) for train in trains]) if trains else count
        spikes = torch.cat(trains) if trains else torch.zeros(0, STEPS, CHANNELS, dtype=torch.int32)
        return Runs(spikes, torch.arange(len(samples)).repeat_interleave(count), first, count)

    def charge(self, runs: Runs, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> None:
        """Charge what is digital of running some samples."""
        ledger.charge(phase, self._digital_cost(len(runs.spikes), sum(frames_of(sample) for sample in samples)))

    def spikes(self, sample: np.ndarray) -> Tensor:
        """Return the spike trains of a sample's runs, int32 [runs, 10, 140] of 0 and 1.

        `SampleError` if the sample is not float32 [samples, 1] within -1 ... 1, or too short or long.
        """
        levels = torch.from_numpy(self._front_end.levels(sample))
        runs = len(levels) // STEPS
        train = levels[: runs * STEPS, :, None] > torch.tensor(LEVELS)
        return train.to(torch.int32).reshape(runs, STEPS, CHANNELS)

    def steps(self, runs: Runs, ledger: EnergyLedger, phase: Phase) -> Iterator[Step]:
        """Run some runs through every chip, step by step, from rest."""
        membrane = torch.zeros(len(self.entry.nodes), len(runs.spikes), self.neurons, dtype=torch.int32)
        fired = torch.zeros_like(membrane)
        for spikes in runs.spikes.unbind(dim=1):
            current = self._current(spikes * _FULL_CODE, fired, ledger, phase)
            membrane = (membrane >> 1) * (1 - fired) + current
            before, fired = fired, (membrane > _ONE).to(torch.int32)
            yield Step(spikes, before, membrane.clamp(-_MEMBRANE_LIMIT, _MEMBRANE_LIMIT), fired)

    def _sums(self, runs: Runs, ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Return the feature codes of each run, int64 [N, R, features]."""
        count, potential = torch.zeros(2, len(self.entry.nodes), len(runs.spikes), self.neurons, dtype=torch.int32)
        for step in self.steps(runs, ledger, phase):
            count += step.fired
            potential += step.membrane
        half = 1 << (MEMBRANE_BITS - 1)
        levels = (potential * MEMBRANE_CODE + half) >> MEMBRANE_BITS
        return torch.cat([count * SPIKE_CODE, levels], dim=2).long()

    def _current(self, step: Tensor, fired: Tensor, ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Return what flows into each membrane, int32 [N, B, 512]."""
        nodes = len(self.entry.nodes)
        heard = self.entry.mvm(step.expand(nodes, -1, -1), sparse=True, ledger=ledger, phase=phase).long()
        back = self.recurrent.mvm(fired * _FULL_CODE, sparse=True, ledger=ledger, phase=phase).long()
        a, b = self._multipliers
        current = (a * heard + b * back + (1 << (_MULTIPLIER_BITS - 1))) >> _MULTIPLIER_BITS
        return current.to(torch.int32)

    def _digital_cost(self, runs: int, frames: int) -> Cost:
        """Fourier sums and mel bands of each frame; scalings, leak and sums of each neuron and step."""
        updates = runs * STEPS * self.neurons
        macs = frames * self._front_end.macs_per_frame + 4 * updates
        return cost.digital_macs(self._preset, macs, cost.Precision.INT8) + cost.sram_read(self._preset, 4 * updates)
