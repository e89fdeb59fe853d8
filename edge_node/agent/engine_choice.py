"""The engine that a task takes: one that recognises, or one that draws and the image_generator beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from edge_node.agent.node_engine import NodeEngine
from edge_node.config import RunSettings
from edge_node.recognition.engine import Engine
from edge_node.tasks import GenerationTask, RecognitionTask, load_task
from hwmodel import Cost, EnergyLedger, Phase, Preset

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator


def build_engine(
    settings: RunSettings, preset: Preset, node_id: str, saved: Mapping[Phase, Cost]
) -> tuple[NodeEngine, ImageGenerator | None]:
    """Program a node's chip and return what runs on it.

    Parameters
    ----------
    saved
        Cumulative costs from the node's journal, empty at the first start. A chip that was programmed before
        is regenerated from its seed without charging again.

    Raises
    ------
    TaskError
        If there is no such task, or its data are not here.
    """
    task = load_task(settings.task)
    if isinstance(task, RecognitionTask):
        engine = Engine.build(task, preset, settings.fleet_seed, [node_id], saved_costs=[saved] if saved else None)
        return engine, None
    return _drawing_engine(task, settings, preset, node_id, saved)


def _drawing_engine(
    task: GenerationTask, settings: RunSettings, preset: Preset, node_id: str, saved: Mapping[Phase, Cost]
) -> tuple[NodeEngine, ImageGenerator]:
    # Imported here: a node that recognises has no use for the transformer.
    from edge_node.generation.engine import GenerationEngine
    from edge_node.generation.image_generator import ImageGenerator

    image_generator = ImageGenerator.build(task, preset, settings.fleet_seed, node_id)
    ledger = EnergyLedger(1)
    ledger.restore(saved)
    if not saved.get(Phase.PROGRAM, Cost()).cell_writes:
        ledger.charge(Phase.PROGRAM, image_generator.programming)
    engine = GenerationEngine(
        [node_id],
        preset,
        features=image_generator.features,
        cell_writes=torch.tensor([image_generator.programming.cell_writes]),
        ledger=ledger,
    )
    return engine, image_generator
