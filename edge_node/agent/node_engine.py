"""What a node asks of its engine, whatever the task: the active adapters, and arithmetic over them.

Everything here is called under the node's lock and must be quick: suppressing a forget waits for it. What
takes longer, learning and drawing, a `ImageGenerator` does with chips of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
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

from edge_node.recognition.engine import Identification
from edge_node.recognition.training.rounds import RoundResult
from hwmodel import EnergyLedger, Phase


class NodeEngine(Protocol):
    """The contract of `Engine` (nodes that recognise) and `GenerationEngine` (nodes that draw).

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
        """Take adapters and LoRA rows out of SRAM; return how many adapters there were."""

    def set_lora(self, node: int, lora: SharedLora | None) -> None:
        """Make a shared LoRA active, or none; `AdapterError` if it does not fit."""

    def set_head(self, node: int, head: ClosedFormHead | None) -> None:
        """Make a closed-form head active, or none; `AdapterError` if it does not fit."""

    def active_head(self, node: int) -> ClosedFormHead | None:
        """Return the active head."""

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return the public samples' codes, int32 [P, features], and whose they are; none without a head."""

    def head_statistics(self, node: int, codes: Tensor) -> bytes:
        """Return what captured codes add to the head, packed; empty where there is none."""

    def active_subjects(self, node: int) -> list[SubjectAdapter]:
        """Return the active subject adapters, sorted by tag."""

    def active_lora(self, node: int) -> SharedLora | None:
        """Return the active shared LoRA."""

    def identify(self, codes: Tensor, phase: Phase = ...) -> Identification:
        """Say which adapter fits codes, integers [N, B, features], best."""

    def run_round(
        self,
        node: int,
        ticket: JobTicket,
        state: LoraState,
        samples: Mapping[str, Tensor],
        forget: Mapping[str, Tensor],
    ) -> RoundResult:
        """Run one learning round; `RoundError` if that is impossible."""

    def deployment(self, node: int, content: RevisionContent, received_bytes: int) -> DeploymentOverhead:
        """Charge and return what it takes to make a revision active."""

    def charge_radio(self, node: int, byte_count: int) -> None:
        """Charge bytes sent or received."""
