"""The paper's spiking liquid state machine for speakers: 140 spike channels, 512 neurons, T = 10 steps.

One step, with membrane m and spikes h of the step before (arXiv 2601.10037)::

    m = decay * m * (1 - h) + fc1(x) + fc1h(h)        decay 0.5
    h = 1 if m > 0.3 else 0

and the scores are ``readout(spike count / T)``. Spikes have no derivative; training takes that of a rectangle of width
0.5 around the threshold (Wu et al., "Spatio-temporal backpropagation for training high-performance spiking neural
networks", Front. Neurosci. 12:331, 2018).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_node.errors import EngineError

CHANNELS = 140
NEURONS = 512
STEPS = 10
DECAY = 0.5
THRESHOLD = 0.3
#: Width of the rectangle that stands for the derivative of a spike.
SURROGATE_WIDTH = 0.5


class _Spike(torch.autograd.Function):
    """Heaviside step forward, rectangle backward."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor) -> Tensor:
        ctx.save_for_backward(membrane)
        fired: Tensor = (membrane > THRESHOLD).to(membrane.dtype)
        return fired

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (membrane,) = ctx.saved_tensors
        near = (membrane - THRESHOLD).abs() < SURROGATE_WIDTH / 2
        passed: Tensor = gradients[0] * near / SURROGATE_WIDTH
        return passed


class SpikingLsm(nn.Module):
    """Spike trains to class scores: 336,384 crossbar weights with five classes, at the paper's sizes."""

    def __init__(self, classes: int, *, channels: int = CHANNELS, neurons: int = NEURONS) -> None:
        super().__init__()
        if classes < 2 or channels < 1 or neurons < 1:
            raise EngineError(f"an LSM needs two classes, a channel and a neuron; got {classes}, {channels}, {neurons}")
        # Kept apart from the layers, which may become analogue ones.
        self.channels, self.neurons = channels, neurons
        self.fc1 = nn.Linear(channels, neurons)
        self.fc1h = nn.Linear(neurons, neurons)
        self.readout = nn.Linear(neurons, classes)

    def features(self, spikes: Tensor) -> Tensor:
        """Return each neuron's share of steps with a spike, ``[B, neurons]``, of 0 and 1 as float ``[B, T, channels]``.

        That is what the readout sees.
        """
        if spikes.ndim != 3 or spikes.shape[2] != self.channels or spikes.shape[1] < 1:
            raise EngineError(f"the LSM takes spikes [B, T, {self.channels}]; got {list(spikes.shape)}")
        membrane = spikes.new_zeros(spikes.shape[0], self.neurons)
        fired = torch.zeros_like(membrane)
        count = torch.zeros_like(membrane)
        for step in spikes.unbind(dim=1):
            membrane = DECAY * membrane * (1 - fired) + self.fc1(step) + self.fc1h(fired)
            fired = _Spike.apply(membrane)  # type: ignore[no-untyped-call]
            count = count + fired
        return count / spikes.shape[1]

    def forward(self, spikes: Tensor) -> Tensor:
        """Return class scores, ``[B, classes]``, of spikes ``[B, T, channels]``."""
        scores: Tensor = self.readout(self.features(spikes))
        return scores
