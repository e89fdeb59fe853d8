"""What stands for "the face backbone": the filters that nodes use, and the paper's mixer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edge_node.backbones import filters
from fleet.lab.paper.networks import FaceMixer
from hwmodel import EnergyLedger, Phase, load_preset, program

PRESET = "180nm-1t1r"


def face_mixer() -> tuple[nn.Module, Tensor]:
    """Return the paper's mixer with random weights, and one photo of 16x16."""
    torch.manual_seed(1)
    return FaceMixer(6).eval(), torch.rand(1, 16, 16)


def filter_bank() -> tuple[nn.Module, Tensor]:
    """Return the nodes' filters of 12x12, every other pixel, as a convolution, and one photo of 64x64."""
    kernels = filters.gabor_bank().to(torch.float32).view(-1, 1, filters.PATCH, filters.PATCH)
    bank = nn.Conv2d(1, len(kernels), filters.PATCH, stride=filters.FINE.stride, bias=False)
    bank.requires_grad_(requires_grad=False).weight.copy_(kernels)
    return bank, torch.rand(1, 1, filters.SIDE, filters.SIDE, generator=torch.Generator().manual_seed(1))


#: Models to program, each with one photo.
MODELS: Mapping[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "face mixer": face_mixer,
    "face filter bank": filter_bank,
}


def run_mixers(nodes: Sequence[str]) -> None:
    """Program the mixer on every node and show all of them one photo."""
    model, photo = face_mixer()
    with torch.no_grad():
        program(model, PRESET, 1, nodes=nodes)(photo)


def run_filter_banks(nodes: Sequence[str]) -> None:
    """Program the nodes' own backbone and capture one photo, up to feature codes."""
    ledger = EnergyLedger(len(nodes))
    bank = filters.FilterBank.program(load_preset(PRESET), 1, nodes, ledger)
    photo = np.random.default_rng(1).random((filters.SIDE, filters.SIDE), dtype=np.float32)
    bank.capture([photo], ledger, Phase.INFER)


#: One photo through the tile-accurate chips of some nodes, programming included.
FLEETS: Mapping[str, Callable[[Sequence[str]], None]] = {"face mixer": run_mixers, "face filter bank": run_filter_banks}
