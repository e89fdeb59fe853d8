"""Backbone of speech: a random reservoir on crossbars, in integer arithmetic from sample to feature code.

Nothing personal is in it: both matrices are random signs drawn from the fleet seed, so every chip of a fleet
gets the same targets and differs only by its own programming error. +-1 weights use the whole conductance
window, where 1 uS of error is about 3 % of a weight instead of the 14 % of Gaussian weights.

One frame, all integers (`s` is the state in 1/256 DAC codes, `h` the DAC codes of the state)::

    h   = (s + 128) >> 8
    pre = (a * (W h) + b * (V u) + 2^15) >> 16          1/256 of a unit of tanh's argument
    s  += (256 * LUT[clamp(pre, -1024, 1024)] - s) >> 1  leak 1/2

A feature is the mean state over the first, then over the second half of the sample (the middle frame of an odd
sample belongs to the first), rounded half up: two halves tell apart people whom one mean confuses (in a numpy
prototype over all 84 public triples, false acceptance of strangers 5.5 % instead of 8 %).

All of it being integers, codes are bitwise equal for any batch, order and number of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_node.backbones import rounded_mean
from edge_node.backbones.coding import InputCoding
from edge_node.backbones.random_signs import program_signs
from edge_node.errors import EngineError
from hwmodel import Cost, Crossbar, EnergyLedger, Phase, Preset, cost

#: Reservoir units; feature codes are two halves of this many.
UNITS = 512
#: Gain of the recurrence: |largest eigenvalue| of W (circular law).
SPECTRAL_RADIUS = 0.9
#: Change of tanh's argument by one input at one standard deviation of the public people.
INPUT_GAIN = 0.25
#: DAC code that stands for one standard deviation, and for the bias input.
UNIT_CODE = 32

_STATE_BITS = 8
_ARGUMENT_BITS = 8
_MULTIPLIER_BITS = 16
_ARGUMENT_LIMIT = 4 << _ARGUMENT_BITS
_FULL_CODE = 127
#: Typical size of a state code, measured on the public people; it only sets the ADC range.
_STATE_RMS = 70.0


def tanh_table() -> Tensor:
    """Return ``round(127 tanh(i / 256))`` for i = -1024 ... 1024 as int32 [2049].

    `EngineError` if an entry lies within 1e-6 of a rounding boundary, where two maths libraries could disagree.
    """
    exact = [_FULL_CODE * math.tanh(i / (1 << _ARGUMENT_BITS)) for i in range(-_ARGUMENT_LIMIT, _ARGUMENT_LIMIT + 1)]
    closest = min(abs(abs(value) % 1.0 - 0.5) for value in exact)
    if closest <= 1e-6:
        raise EngineError(f"an entry of the tanh table is {closest:.1e} from a rounding boundary")
    return torch.tensor([round(value) for value in exact], dtype=torch.int32)


@dataclass(frozen=True, eq=False)
class Run:
    """Coded samples, the longest first: at each frame those that still run are a prefix, and no padding is ever read.

    Attributes
    ----------
    order
        Which sample is at each place.
    lengths
        Frames of each, int64 [S].
    inputs
        DAC codes with the bias, int32 ``[S, frames, channels + 1]``.
    """

    order: Sequence[int]
    lengths: Tensor
    inputs: Tensor

    @classmethod
    def of(cls, coding: InputCoding, samples: Sequence[np.ndarray]) -> Run:
        """Code samples; `SampleError` as of `Backbone.capture`."""
        codes = [coding.encode(sample) for sample in samples]
        order = sorted(range(len(codes)), key=lambda i: -len(codes[i]))
        lengths = torch.tensor([len(codes[i]) for i in order], dtype=torch.int64)
        inputs = torch.zeros(len(codes), max(map(len, codes), default=0), coding.channels + 1, dtype=torch.int32)
        for row, i in enumerate(order):
            inputs[row, : len(codes[i]), :-1] = codes[i]
        inputs[:, :, -1] = UNIT_CODE
        return cls(order, lengths, inputs)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of the samples that still run.

    Attributes
    ----------
    inputs, held
        DAC codes u ``[S, channels + 1]`` and h ``[N, S, units]``: what the two crossbars were driven with.
    argument
        Of tanh, in 1/256, int64 ``[N, S, units]``.
    state
        After it, int32 ``[N, S, units]``.
    """

    inputs: Tensor
    held: Tensor
    argument: Tensor
    state: Tensor


@dataclass(frozen=True, eq=False)
class Reservoir:
    """Reservoirs of N chips.

    Attributes
    ----------
    recurrent, entry
        ``[units, units]`` and ``[units, channels + 1]`` signs on the tiles of every node.
    coding
        How samples become DAC codes.
    """

    recurrent: Crossbar
    entry: Crossbar
    coding: InputCoding
    _table: Tensor
    _multipliers: tuple[int, int]
    _preset: Preset

    @classmethod
    def program(
        cls,
        coding: InputCoding,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        ledger: EnergyLedger,
        units: int = UNITS,
    ) -> Reservoir:
        """Program the random matrices into every node's crossbars; charged to `Phase.PROGRAM`."""

        def crossbar(layer: str, inputs: int, input_rms: float) -> Crossbar:
            return program_signs(
                preset, fleet_seed, node_ids, ledger, layer=layer, outputs=units, inputs=inputs, input_rms=input_rms
            )

        recurrent = crossbar("recurrent", units, _STATE_RMS)
        entry = crossbar("entry", coding.channels + 1, UNIT_CODE)
        one = 1 << (_ARGUMENT_BITS + _MULTIPLIER_BITS)
        multipliers = (
            round(recurrent.scale * SPECTRAL_RADIUS / (math.sqrt(units) * _FULL_CODE) * one),
            round(entry.scale * INPUT_GAIN / UNIT_CODE * one),
        )
        return cls(recurrent, entry, coding, tanh_table(), multipliers, preset)

    @property
    def units(self) -> int:
        """Units of the reservoir."""
        return self.recurrent.out_features

    @property
    def features(self) -> int:
        """Feature codes per sample: mean state of both halves."""
        return 2 * self.units

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""
        return self.recurrent.cell_writes + self.entry.cell_writes

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples, float32 [frames, channels], through every chip; see `Backbone.capture`.

        Real frames only are charged, no padding.
        """
        run = Run.of(self.coding, samples)
        middle = (run.lengths + 1) // 2
        sums = torch.zeros(2, len(self.recurrent.nodes), len(samples), self.units, dtype=torch.int32)
        for t, frame in enumerate(self.frames(run, ledger, phase)):
            early, running = int((middle > t).sum()), frame.state.shape[1]
            sums[0, :, :early] += frame.state[:, :early]
            sums[1, :, early:running] += frame.state[:, early:]
        lengths = torch.stack([middle, run.lengths - middle])[:, None, :, None]
        halves = rounded_mean(sums, lengths.to(torch.int32))
        out = torch.empty(len(self.recurrent.nodes), len(samples), self.features, dtype=torch.int32)
        out[:, run.order] = torch.cat([halves[0], halves[1]], dim=-1)
        return out

    def frames(self, run: Run, ledger: EnergyLedger, phase: Phase) -> Iterator[Frame]:
        """Run samples through every chip, frame by frame, each of those that still run."""
        state = torch.zeros(len(self.recurrent.nodes), len(run.lengths), self.units, dtype=torch.int32)
        for t in range(run.inputs.shape[1]):
            running = int((run.lengths > t).sum())
            frame = self._step(state[:, :running], run.inputs[:running, t], ledger, phase)
            state[:, :running] = frame.state
            yield frame
        ledger.charge(phase, self._digital_cost(int(run.lengths.sum())))

    def _digital_cost(self, frames: int) -> Cost:
        """Two scalings, leak and pooling of each unit and frame, and one byte of table."""
        units = self.units * frames
        return cost.digital_macs(self._preset, 4 * units, cost.Precision.INT8) + cost.sram_read(self._preset, units)

    def _step(self, state: Tensor, inputs: Tensor, ledger: EnergyLedger, phase: Phase) -> Frame:
        half = 1 << (_STATE_BITS - 1)
        held = (state + half) >> _STATE_BITS
        reads = self.recurrent.mvm(held, ledger=ledger, phase=phase).long()
        heard = self.entry.mvm(inputs.expand(state.shape[0], -1, -1), ledger=ledger, phase=phase).long()
        a, b = self._multipliers
        argument = (a * reads + b * heard + (1 << (_MULTIPLIER_BITS - 1))) >> _MULTIPLIER_BITS
        argument.clamp_(-_ARGUMENT_LIMIT, _ARGUMENT_LIMIT)
        target = self._table[argument + _ARGUMENT_LIMIT] << _STATE_BITS
        return Frame(inputs, held, argument, state + ((target - state) >> 1))
