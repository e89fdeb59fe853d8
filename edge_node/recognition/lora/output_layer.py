"""Samples as a LoRA reads them: of a stage its codes, of the output layer alone ``A z`` of whitened unit vectors z."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from reram_fleet.v1.types_pb2 import LoraShape
from torch import Tensor

from edge_node.backbones.random_signs import keyed_signs
from edge_node.recognition.lora.stage import READ_BITS, Stage, StageSamples
from edge_node.recognition.training import exact
from edge_node.recognition.whitening import ChipWhitening, Whitened
from hwmodel.streams import keyed_seed


@lru_cache(maxsize=8)
def frozen_a(a_seed: int, rank: int, features: int) -> Tensor:
    """Return the frozen factor A, float64 [rank, features]: random signs of the seed.

    Since z has length 1, the entries of A z have about unit variance.
    """
    return keyed_signs(rank, features, a_seed, "lora.a", rank, features).double()


def frozen_factor(a_seed: int, layer: str, rank: int, inputs: int) -> Tensor:
    """Return the frozen A of a layer, float64 ``[rank, in]``: keyed random signs over the root of `inputs`.

    So each row has length 1, and entries of A x have the size of an entry of x. Rounded to float32, so that
    A is the same number in every file format.
    """
    signs = frozen_a(keyed_seed(a_seed, "lora.a.layer", layer), rank, inputs)
    return signs * float(torch.tensor(1.0 / math.sqrt(inputs), dtype=torch.float32))


def read_samples(shape: LoraShape, chip: ChipWhitening, samples: Whitened) -> StageSamples:
    """Return samples of one chip as they are read, with a node axis of 1."""
    stage = Stage.of(shape)
    if stage.neurons:
        return stage.samples(samples.codes[None])
    # A branch's logits are these times B'.
    projected = chip.mapped(samples, frozen_a(shape.a_seed, shape.rank, shape.features)) * (shape.alpha / shape.rank)
    return StageSamples.of(stage, projected[None, :, None], projected[None, :, None, :0])


def nobody(public: StageSamples) -> Tensor:
    """Return what neurons answer to public people on average without B, float32 ``[N, 1, neurons]``, on their grid."""
    stage = public.stage
    without_b = torch.zeros(len(public.drives), stage.neurons, stage.rank, dtype=torch.float64)
    answers = public.read(without_b)[0][:, :, : stage.neurons]
    return exact.on_grid(answers.double().sum(dim=1, keepdim=True) / answers.shape[1], READ_BITS).float()


def nobody_on(shape: LoraShape, chip: ChipWhitening) -> Tensor:
    """Return `nobody` of one chip, for which the public samples are not mapped if there are no neurons."""
    stage = Stage.of(shape)
    return nobody(stage.samples(chip.codes[None])) if stage.neurons else torch.zeros(1, 1, 0)
