"""A crossbar layer at each of its fidelity levels beside a dense float32 layer of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwmodel import Crossbar, DeviceModels, Fidelity, ReadNoise, load_preset
from tests.bench.side_by_side import Pair

#: (batch, inputs, outputs) of the tile-accurate layers; the first is the one of the claim.
SHAPES = ((64, 512, 512), (1, 512, 512), (64, 1024, 256))
#: Read noise of the noisy rows, about 1 % of the largest conductance.
READ_NOISE_US = 0.8


@dataclass(frozen=True)
class Level:
    """A fidelity level, with or without read noise."""

    name: str
    fidelity: Fidelity
    read_noise_us: float = 0.0


LEVELS = (
    Level("ideal", Fidelity.IDEAL),
    Level("statistical", Fidelity.STATISTICAL),
    Level("tile-accurate", Fidelity.TILE_ACCURATE),
    Level("tile-accurate, read noise", Fidelity.TILE_ACCURATE, READ_NOISE_US),
    Level("bit-serial", Fidelity.BIT_SERIAL),
)
_TILE_ACCURATE, _READ_NOISE = LEVELS[2:4]


def tile_accurate_pair(batch: int, inputs: int, outputs: int) -> Pair:
    """Return a tile-accurate 180 nm layer without read noise, on tiles of 128, beside `torch.nn.Linear`."""
    return _pair(_TILE_ACCURATE, batch, inputs, outputs)


def read_noise_pair(batch: int, inputs: int, outputs: int) -> Pair:
    """Return the same with read noise."""
    return _pair(_READ_NOISE, batch, inputs, outputs)


def crossbar_pairs() -> Iterator[Pair]:
    """Yield the tile-accurate shapes, the other levels on the first shape, and programming."""
    for shape in SHAPES:
        yield tile_accurate_pair(*shape)
    for level in LEVELS:
        if level is not _TILE_ACCURATE:
            yield _pair(level, *SHAPES[0])
    batch, inputs, outputs = SHAPES[0]
    yield Pair(
        f"programming {inputs}x{outputs}",
        lambda: _program(_TILE_ACCURATE, inputs, outputs),
        f"torch.nn.Linear, batch {batch}",
        _dense(batch, inputs, outputs),
    )


def _pair(level: Level, batch: int, inputs: int, outputs: int) -> Pair:
    crossbar = _program(level, inputs, outputs)
    codes = _codes(batch, inputs)
    return Pair(
        f"crossbar {inputs}x{outputs}, batch {batch}, {level.name}",
        lambda: crossbar.mvm(codes),
        "torch.nn.Linear",
        _dense(batch, inputs, outputs),
    )


def _program(level: Level, inputs: int, outputs: int) -> Crossbar:
    preset = load_preset("180nm-1t1r")
    weights = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1))
    return Crossbar.program(
        weights,
        preset,
        fleet_seed=1,
        nodes=["node-1"],
        layer="bench",
        models=replace(DeviceModels.of(preset), read_noise=ReadNoise(level.read_noise_us)),
        fidelity=level.fidelity,
    )


def _codes(batch: int, inputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(-127, 128, (1, batch, inputs), generator=generator, dtype=torch.int32)


def _dense(batch: int, inputs: int, outputs: int) -> Callable[[], object]:
    linear = torch.nn.Linear(inputs, outputs, bias=False).requires_grad_(requires_grad=False)
    dense = _codes(batch, inputs)[0].to(torch.float32)
    return lambda: linear(dense)
