"""Ranges of the integers that a task's nodes send: what the coordinator holds every contribution against.

A node checks its own codes before it stores them, so an honest one is never refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reram_fleet.v1.types_pb2 import (
    NEURON_LAW_RECTIFIER,
    NEURON_LAW_TANH,
    SUBJECT_ADAPTER_KIND_TRAINED,
    SUBJECT_ADAPTER_KIND_UNSPECIFIED,
    NeuronLaw,
    SubjectAdapter,
    SubjectAdapterKind,
)

#: Samples of one person that one node may sum up.
MAX_SAMPLES = 4096


class CodeRangeError(ValueError):
    """Integers that no node of the task can have captured."""


@dataclass(frozen=True)
class LoraStage:
    """Neurons of a small chip that a LoRA is beside, as a task's codes tell of them (docs/adr/0028).

    Attributes
    ----------
    rank
        Numbers of A x, of all layers that feed the neurons.
    segments
        Parts of each sample, of which the codes have A x, then what drove the neurons.
    """

    rank: int
    neurons: int
    segments: int = 1
    law: NeuronLaw = NEURON_LAW_RECTIFIER

    @property
    def features(self) -> int:
        """Codes of one sample."""
        return self.segments * (self.rank + self.neurons)


@dataclass(frozen=True)
class CodeRange:
    """Integers that one sample can have."""

    #: Codes of one sample, after the backbone.
    features: int
    #: Largest magnitude of one code.
    code_max: int
    #: Of the task's subject adapters.
    kind: SubjectAdapterKind = SUBJECT_ADAPTER_KIND_UNSPECIFIED
    #: Of a small chip; None if the LoRA is beside the output layer alone.
    stage: LoraStage | None = None

    def check(self, adapter: SubjectAdapter) -> None:
        """Refuse an adapter that no node of the task can have captured.

        `CodeRangeError` with what was expected and what was found.
        """
        if adapter.kind != self.kind:
            raise CodeRangeError(
                f"the adapter is of kind {adapter_kind_name(adapter.kind)}, this fleet's are of "
                f"{adapter_kind_name(self.kind)}: a fleet runs one task"
            )
        most = 1 if self.kind == SUBJECT_ADAPTER_KIND_TRAINED else MAX_SAMPLES
        if not 1 <= adapter.count <= most:
            raise CodeRangeError(f"the adapter sums up {adapter.count} samples, expected 1 to {most}")
        self.check_codes(adapter.code_sum, adapter.count)

    def check_codes(self, codes: Sequence[int], samples: int = 1) -> None:
        """Refuse codes of one sample, or the sum of several, that are out of range."""
        if len(codes) != self.features:
            raise CodeRangeError(f"there are {len(codes)} features, this fleet's task has {self.features}")
        largest, limit = max(map(abs, codes)), samples * self.code_max
        if largest > limit:
            raise CodeRangeError(f"a code sum of {samples} samples is {largest}, the task's range ends at {limit}")


def adapter_kind_name(kind: int) -> str:
    """Return the name of a subject adapter kind, also of one that this version does not know."""
    try:
        return SubjectAdapterKind.Name(kind).removeprefix("SUBJECT_ADAPTER_KIND_")
    except ValueError:
        return str(kind)


# Ranges of our own tasks: entry points of the group `reram_fleet.code_ranges`. Codes of real people stay below nine
# tenths of each, which tests hold.
SPEAKERS = CodeRange(1024, 2**16 - 1)
FACES = CodeRange(1000, 2**12 - 1)
FACES_64 = CodeRange(96, 2**12 - 1, stage=LoraStage(rank=32, neurons=64))
FSDD = CodeRange(1024, 2**14 - 1)
SPEAKERS_4, SPEAKERS_8, SPEAKERS_16 = (
    CodeRange(stage.features, 2**11 - 1, stage=stage)
    for stage in (LoraStage(16, neurons, segments=4, law=NEURON_LAW_TANH) for neurons in (4, 8, 16))
)
FSDD_8 = CodeRange(160, 2**11 - 1, stage=LoraStage(32, 8, segments=4, law=NEURON_LAW_TANH))
IMAGES = CodeRange(35_328, 2**15 - 1, SUBJECT_ADAPTER_KIND_TRAINED)
IMAGES_BRIEF = CodeRange(17_664, 2**15 - 1, SUBJECT_ADAPTER_KIND_TRAINED)
