"""Stage: neurons of a frozen network with a LoRA beside every crossbar layer that feeds them, on captured codes.

A sample is cut into segments, the same number for every sample. Of each segment a node keeps the mean of what drove the
neurons, y, and of A x of every layer that feeds them: A is frozen random signs, so A x is a few numbers. All that a
LoRA needs follows from these integers, captured once::

    h = mean over segments of law(y + B (A x))       B of all layers side by side, [neurons, rank], shared by everybody
    u = (h - what h is of public people on average without B, mean over segments of A x)
    logit of a person = base + row . u               base: the closed form, from their own adapter

With B = 0 and rows 0 it is the closed form. A stage without neurons is a LoRA of the output layer alone.

The LoRA of a recurrent layer acts on the course that the frozen chip took; it does not change it. So nothing is read
from a chip again, and training repeats to the bit (docs/adr/0028). Values are on fixed-point grids
(`edge_node.recognition.training.exact`), in a carrier in which their sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from reram_fleet.v1.types_pb2 import NEURON_LAW_RECTIFIER, NEURON_LAW_TANH, LoraShape, NeuronLaw
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.recognition.training import exact

#: Fraction bits of A x and of y; of B and of rows in products; of u; of what flows back into neurons.
PROJECTED_BITS, DRIVE_BITS, B_BITS, ROW_BITS, READ_BITS, BACK_BITS = 5, 7, 7, 7, 5, 12
#: Where they saturate: multiples of their steps.
LARGEST_CODE, LARGEST_B, LARGEST_ROW, LARGEST_READ, LARGEST_BACK = 16.0, 1.0, 2.0, 8.0, 0.125


@dataclass(frozen=True)
class Stage:
    """Shape of a stage.

    Attributes
    ----------
    rank
        Numbers of A x, of all layers together.
    neurons
        0 for the output layer alone.
    segments
        Of a sample.
    """

    rank: int
    neurons: int = 0
    segments: int = 1
    law: NeuronLaw = NEURON_LAW_RECTIFIER

    @classmethod
    def of(cls, shape: LoraShape) -> Stage:
        """Return the stage of a LoRA's shape."""
        if not shape.neurons:
            return cls(shape.rank)
        return cls(shape.rank, shape.neurons, max(shape.segments, 1), shape.law)

    @property
    def features(self) -> int:
        """Codes of a sample: of each segment A x, then y."""
        return self.segments * (self.rank + self.neurons)

    @property
    def width(self) -> int:
        """Numbers that a person's row reads."""
        return self.neurons + self.rank

    def samples(self, codes: Tensor) -> StageSamples:
        """Return captured codes, integers ``[..., S, features]``, as numbers; `EngineError` if they are others'."""
        if codes.shape[-1] != self.features:
            raise EngineError(f"a sample of this stage has {self.features} codes; got {codes.shape[-1]}")
        parts = codes.reshape(*codes.shape[:-1], self.segments, self.rank + self.neurons)
        projected, drives = parts[..., : self.rank], parts[..., self.rank :]
        return StageSamples.of(self, projected * 2.0**-PROJECTED_BITS, drives * 2.0**-DRIVE_BITS)


@dataclass(frozen=True, eq=False)
class StageSamples:
    """Captured samples of N nodes, float32 on their grids.

    Attributes
    ----------
    projected
        A x, ``[N, S, P, rank]``.
    drives
        y, ``[N, S, P, neurons]``.
    """

    stage: Stage
    projected: Tensor
    drives: Tensor

    @classmethod
    def of(cls, stage: Stage, projected: Tensor, drives: Tensor) -> StageSamples:
        """Take numbers, rounded to their grids and saturated."""
        return cls(
            stage,
            exact.on_grid(projected, PROJECTED_BITS, LARGEST_CODE).float(),
            exact.on_grid(drives, DRIVE_BITS, LARGEST_CODE).float(),
        )

    def __getitem__(self, nodes: slice | Tensor) -> StageSamples:
        """Return the samples of some nodes."""
        return StageSamples(self.stage, self.projected[nodes], self.drives[nodes])

    def some(self, samples: slice) -> StageSamples:
        """Return some samples of each node."""
        return StageSamples(self.stage, self.projected[:, samples], self.drives[:, samples])

    def read(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return u, float32 ``[N, S, width]``, not centred; and the slope of each neuron, as `drives`.

        B is float64 ``[N, neurons, rank]``.
        """
        stage = self.stage
        # A state has few bits: its copy in float32 is exact.
        codes = exact.to_grid_(b.to(torch.float32, copy=True), B_BITS, LARGEST_B)
        reach = (stage.rank * LARGEST_CODE * LARGEST_B + LARGEST_CODE) * 2.0 ** (PROJECTED_BITS + B_BITS)
        pre = exact.matmul(self.projected.flatten(1, 2), codes.mT, reach).view(self.drives.shape).add_(self.drives)
        answer, slope = LAWS[stage.law](pre)
        u = torch.empty(*self.drives.shape[:2], stage.width)
        u[:, :, : stage.neurons] = self._mean(answer)
        u[:, :, stage.neurons :] = self._mean_projected
        return u, slope

    @cached_property
    def _mean_projected(self) -> Tensor:
        return self._mean(self.projected.clone())

    def _mean(self, parts: Tensor) -> Tensor:
        """Return the mean over segments on the grid that rows read; the parts are used up."""
        whole = parts.sum(dim=2).div_(self.stage.segments) if self.stage.segments > 1 else parts[:, :, 0]
        return exact.to_grid_(whole, READ_BITS, LARGEST_READ)

    def back(self, behind: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of B, ``[N, neurons, rank]``, of the gradient of h, ``[N, S, neurons]``."""
        at = behind[:, :, None] * slope
        if self.stage.segments > 1:
            at.div_(self.stage.segments)
        at = exact.to_grid_(at, BACK_BITS, LARGEST_BACK).flatten(1, 2)
        reach = exact.largest_sum(at, dim=1) * LARGEST_CODE * 2.0 ** (BACK_BITS + PROJECTED_BITS)
        return exact.matmul(at.mT, self.projected.flatten(1, 2), reach)


def _rectifier(pre: Tensor) -> tuple[Tensor, Tensor]:
    answer = pre.clamp_(min=0)
    # Answers are multiples of this: 1 of all above 0.
    return answer, (answer * 2.0 ** (PROJECTED_BITS + B_BITS)).clamp_(max=1)


def _tanh(pre: Tensor) -> tuple[Tensor, Tensor]:
    # tanh x = 2 sigmoid(2 x) - 1, and its square is exact in float64.
    answer = exact.sigmoid(pre.mul_(2)).mul_(2).sub_(1)
    return answer.float(), exact.on_grid(1 - answer.square(), BACK_BITS).float()


#: Answers and slopes, by law.
LAWS = {NEURON_LAW_RECTIFIER: _rectifier, NEURON_LAW_TANH: _tanh}
