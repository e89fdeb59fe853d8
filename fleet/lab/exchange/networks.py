"""Frozen networks that adapters are held against, and the cohorts of a simulated fleet of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SharedLora
from reram_fleet.wire.shared_lora import SCALE_BITS

from edge_node.backbones.random_signs import layer_signs
from edge_node.backbones.small_layer import LAYER, PROJECTED_DIVISOR, SmallLayer
from edge_node.errors import EdgeNodeError
from edge_node.generation.image_generator import task_backbone
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.recognition.lora.stage import B_BITS, DRIVE_BITS, LARGEST_B, PROJECTED_BITS
from edge_node.recognition.training.exact import on_grid
from edge_node.tasks import GenerationTask, RecognitionTask, load_task
from fleet.documents import document
from fleet.errors import InvalidInputError
from fleet.lab.exchange.adapter import LoraAdapter, LoraKind, LoraSpec, cohort_name
from fleet.lab.fleets.captured_fleet import PRESET
from fleet.lab.verification.verified_fleet import VerifiedFleet
from hwmodel import EnergyLedger, load_preset

#: Rounds that cohorts are trained for.
ROUNDS = 8
#: What B adds to the codes that drive the neurons, in codes, of a B and a sum of signed codes of 1.
_CODES_OF_ONE = 2.0 ** (DRIVE_BITS - PROJECTED_BITS) / PROJECTED_DIVISOR


@dataclass(frozen=True)
class Network:
    """A frozen network.

    Attributes
    ----------
    task
        Name of a task that generates, or whose LoRA is beside one crossbar layer.
    seed
        Of a fleet's random signs, and of the roles of a task that draws them.
    """

    task: str
    seed: int

    def base(self) -> FrozenBase:
        """Return its layers and digest; a generator's backbone is trained if it is not in the cache: minutes.

        `InvalidInputError` if there is no such task, its data are not here, or it has no layer for an adapter.
        """
        with _bad_input():
            task = load_task(self.task, self.seed)
            if isinstance(task, GenerationTask):
                return task_backbone(task).base
            return self._base(self._layer(task))

    def train_cohorts(self, shards: int) -> list[LoraAdapter]:
        """Train the task's enrolled people in shards on the product's fleet in memory; return each shard's LoRA.

        The rows of people are not in it: they belong to the output layer, which has one only for who is enrolled.
        `InvalidInputError` as `base`, and if nobody is enrolled in the task.
        """
        with _bad_input():
            task = load_task(self.task, self.seed)
            if isinstance(task, GenerationTask):
                raise InvalidInputError(f"task {self.task!r} generates: it has no people, and no cohorts of them")
            layer, numbers = self._layer(task), range(len(task.split.enrolled))
            with TemporaryDirectory() as folder:
                fleet = VerifiedFleet(task, self.seed, Path(folder), head=False)
                fleet.enrol(numbers)
                fleet.learn(ROUNDS, shards)
                found = {shard: fleet.rows_of(shard) for shard in sorted({fleet.shard_of(n) for n in numbers})}
                fleet.close()
            return [self._adapter(layer, shard, lora) for shard, lora in found.items()]

    def _layer(self, task: RecognitionTask) -> SmallLayer:
        """Return the layer on one chip."""
        layer = task.program(load_preset(PRESET), self.seed, ["chip"], EnergyLedger(1))
        if not isinstance(layer, SmallLayer):
            raise InvalidInputError(
                f"task {self.task!r} has no LoRA beside one crossbar layer, which is what PEFT can hold: on full-size "
                "chips it is on the output layer, and beside the layers of a machine that takes time it acts on means "
                "over time"
            )
        return layer

    def _base(self, layer: SmallLayer) -> FrozenBase:
        signs = layer_signs(self.seed, LAYER, layer.layer.out_features, layer.layer.in_features)
        return FrozenBase.of(self.task, {LAYER: signs})

    def _adapter(self, layer: SmallLayer, shard: int, lora: SharedLora) -> LoraAdapter:
        """Return what acts of a shard's branch, for codes that drive the layer and for its products."""
        base, rank = self._base(layer), len(layer.a)
        spec = LoraSpec(
            name=cohort_name(shard),
            kind=LoraKind.COHORT,
            task=base.task,
            base_digest=base.digest,
            layers=(LAYER,),
            rank=rank,
            alpha=rank * _CODES_OF_ONE * layer.layer.scale,
        )
        (branch,) = lora.branches
        b = torch.from_numpy(np.array(branch.codes, np.float64).reshape(-1, rank) * 2.0**-SCALE_BITS)
        return LoraAdapter.build(spec, base, a={LAYER: layer.a}, b={LAYER: on_grid(b, B_BITS, LARGEST_B)})


@contextmanager
def _bad_input() -> Iterator[None]:
    try:
        yield
    except EdgeNodeError as error:
        raise InvalidInputError(str(error)) from error


def adapter_document(adapter: LoraAdapter) -> dict[str, Any]:
    """Return what an adapter says about itself, its size and its digest; never its numbers."""
    spec = adapter.spec
    return document(
        "Adapter",
        name=spec.name,
        adapter_kind=spec.kind.value,
        personal=spec.kind.personal,
        task=spec.task,
        base_digest=spec.base_digest,
        layers=list(spec.layers),
        rank=spec.rank,
        alpha=spec.alpha,
        storage=spec.storage.value,
        sram_bytes=adapter.byte_count,
        digest=adapter.digest.hex(),
    )
