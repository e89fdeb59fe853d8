"""Contract between a node and its engine, and the engine that a task takes.

What a node asks of an engine is done under the node's lock and must be quick: suppressing a forget waits for it. What
takes longer, learning a class and generating images, an `ImageGenerator` does with chips of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import (
    ClosedFormHead,
    DeploymentOverhead,
    JobTicket,
    LoraState,
    RevisionContent,
    SharedLora,
    SubjectAdapter,
)
from torch import Tensor

from edge_node.config import RunSettings
from edge_node.recognition.engine import Engine, Identification
from edge_node.recognition.training.rounds import RoundResult
from edge_node.tasks import GenerationTask, RecognitionTask, load_task
from hwmodel import Cost, EnergyLedger, Phase, Preset

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator


class NodeEngine(Protocol):
    """Engine of any node: subject adapters, capture, probes and cost.

    Attributes
    ----------
    features
        Integers of a subject adapter, and of a probe.
    ledger
        Cost of everything done so far.
    """

    features: int
    ledger: EnergyLedger

    @property
    def accept_threshold(self) -> Tensor:
        """Score from which an answer of `identify` is accepted, float64 [N]."""

    @property
    def cell_writes(self) -> Tensor:
        """ReRAM pulses given to each chip since it was made, int64 [N]."""

    def capture(self, samples: Sequence[np.ndarray], phase: Phase = ...) -> Tensor:
        """Return what is kept of samples, integers [N, samples, width]; `SampleError` if one does not fit."""

    def set_subject(self, node: int, adapter: SubjectAdapter) -> None:
        """Make a subject adapter active, replacing one of its tag; `AdapterError` if it does not fit."""

    def drop_subjects(self, node: int, tags: Collection[str]) -> int:
        """Take all that there is of these tags out of SRAM; return how many adapters there were."""

    def active_subjects(self, node: int) -> list[SubjectAdapter]:
        """Return the active subject adapters, sorted by tag."""

    def identify(self, codes: Tensor, phase: Phase = ...) -> Identification:
        """Say which adapter fits codes, integers [N, B, features], best."""

    def deployment(self, node: int, content: RevisionContent, received_bytes: int) -> DeploymentOverhead:
        """Charge and return what it takes to make a revision active."""

    def charge_radio(self, node: int, byte_count: int) -> None:
        """Charge bytes sent or received."""


@runtime_checkable
class RecognitionEngine(NodeEngine, Protocol):
    """Engine of a node that recognises: also a shared LoRA, a closed-form head, and rounds of learning jobs."""

    def set_lora(self, node: int, lora: SharedLora | None) -> None:
        """Make a shared LoRA active, or none; `AdapterError` if it does not fit."""

    def active_lora(self, node: int) -> SharedLora | None:
        """Return the active shared LoRA."""

    def set_head(self, node: int, head: ClosedFormHead | None) -> None:
        """Make a closed-form head active, or none; `AdapterError` if it does not fit."""

    def active_head(self, node: int) -> ClosedFormHead | None:
        """Return the active head."""

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return the public samples' codes, int32 [P, features], and whose they are."""

    def head_statistics(self, node: int, codes: Tensor) -> bytes:
        """Return what captured codes add to the head, packed."""

    def run_round(
        self,
        node: int,
        ticket: JobTicket,
        state: LoraState,
        samples: Mapping[str, Tensor],
        forget: Mapping[str, Tensor],
    ) -> RoundResult:
        """Run one learning round; `RoundError` if that is impossible."""


def build_engine(
    settings: RunSettings, preset: Preset, node_id: str, saved: Mapping[Phase, Cost]
) -> tuple[NodeEngine, ImageGenerator | None]:
    """Program a node's chip; return what runs on it, and what generates images if the task is such a one.

    `TaskError` if there is no such task, or its data are not here.

    Parameters
    ----------
    saved
        Cumulative costs from the node's journal, empty at the first start. A chip that was programmed before is
        regenerated from its seed without charging again.
    """
    task = load_task(settings.task)
    if not isinstance(task, RecognitionTask):
        return _build_generation(task, settings, preset, node_id, saved)
    return Engine.build(task, preset, settings.fleet_seed, [node_id], saved_costs=[saved] if saved else None), None


def _build_generation(
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
