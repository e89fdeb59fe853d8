"""Frozen networks that adapters are held against, and the cohorts of a simulated fleet of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reram_fleet.tasks import TaskPluginError, code_range

from edge_node.errors import EdgeNodeError
from edge_node.generation.image_generator import task_backbone
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.tasks import GenerationTask, load_task
from fleet.documents import document
from fleet.errors import InvalidInputError
from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.fleets.two_layer_fleet import TwoLayerFleet, shard_plans
from fleet.lab.lora.adapter import LoraAdapter
from fleet.lab.replay.cohort import cohort_adapter, train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import LAYER, LoraRecipe
from fleet.lab.replay.hidden_layer import hidden_signs


@dataclass(frozen=True)
class Network:
    """A frozen network."""

    #: Name of any task that is installed.
    task: str
    #: Of its random signs, and of the roles of a task that draws them.
    seed: int
    #: Width of the hidden layer; a task that generates has none.
    hidden: int

    def base(self) -> FrozenBase:
        """Return its layers and digest; a generator's backbone is trained if it is not in the cache: minutes.

        `InvalidInputError` if there is no such task or width.
        """
        try:
            task = load_task(self.task, self.seed)
            if isinstance(task, GenerationTask):
                return task_backbone(task).base
            if self.hidden < 1:
                raise InvalidInputError(f"a hidden layer has at least one unit; got {self.hidden}")
            signs = hidden_signs(self.seed, code_range(self.task).features, self.hidden)
            return FrozenBase.of(self.task, {LAYER: signs})
        except (EdgeNodeError, TaskPluginError) as error:
            raise InvalidInputError(str(error)) from error

    def train_cohorts(self, shards: int) -> list[LoraAdapter]:
        """Train the task's enrolled people in shards on a simulated fleet; return each shard's LoRA.

        `InvalidInputError` if the task has no cohorts, or its data are not here.
        """
        try:
            task = load_task(self.task, self.seed)
            if isinstance(task, GenerationTask):
                raise InvalidInputError(f"task {self.task!r} generates: it has no people, and no cohorts of them")
            base = self.base()
            fleet = TwoLayerFleet.of(self.seed, CapturedFleet.of(task, self.seed), self.hidden)
        except EdgeNodeError as error:
            raise InvalidInputError(str(error)) from error
        recipe = LoraRecipe(a_seed=self.seed)
        starts = RidgeStarts(fleet.nodes, recipe.gain)
        return [
            cohort_adapter(train_cohort(plan, fleet.nodes, starts), base, recipe, plan.shard)
            for plan in shard_plans(fleet, self.seed, recipe, shards)
            if plan.entries
        ]


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
