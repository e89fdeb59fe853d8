"""Evidence of the demo: plain values, from which claims, report and tables are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.trust.checks import CheckLine

if TYPE_CHECKING:
    from fleet.learning.flower_command import RunInfo

#: What a task measures of one node.
M = TypeVar("M")


@dataclass(frozen=True)
class ProbeAnswer:
    """One answer of the restarted node."""

    #: Seconds since the process was started again.
    at_s: float
    backbone_only: bool
    #: Why, if so.
    reason: str | None
    #: The node's own, as told in the same answer.
    generation: int
    #: For how much of what was asked the answer is somebody's own, and the forgotten person's.
    named: int
    named_forgotten: int


@dataclass(frozen=True)
class Outage:
    """Outage of the node that was killed."""

    node_id: str
    killed_pid: int
    #: Nodes that had suppressed the forget while this one was down.
    suppressed_by: frozenset[str]
    #: Answers of connected nodes that were the forgotten person's after they had suppressed.
    leaked_meanwhile: int
    #: From the call of CreateForget until all connected nodes were seen as suppressed.
    seconds_observed: float
    #: Every answer of the restarted node until it served again, oldest first.
    probe_answers: tuple[ProbeAnswer, ...]


@dataclass(frozen=True)
class Learnt:
    """Jobs that trained the fleet's LoRA, finished; none, and the coordinator's reason, if it refused."""

    jobs: tuple[operator.LearningJob, ...] = ()
    refusal: str = ""

    @property
    def revision(self) -> int:
        """The revision with all that was learnt; 0 without a job."""
        return max((job.revision for job in self.jobs), default=0)


@dataclass(frozen=True)
class ChipRates:
    """Shares (0..1) of the enrolled people's test samples that are named rightly, over all nodes of a simulated fleet.

    Attributes
    ----------
    neurons
        By what the chip's neurons answer, which is all that a chip without a LoRA has; None of a task without a stage.
    closed_form
        By subject adapters: on a small chip, of A x too.
    lora
        With the LoRA that the nodes trained together.
    pulses_per_cell
        Of write-verify, when the chips were programmed.
    """

    task: str
    cells: str
    neurons: float | None
    closed_form: float
    lora: float
    pulses_per_cell: float


@dataclass(frozen=True)
class Evidence(Generic[M]):
    """All that the demo saw, by node id where it is per node."""

    fleet_id: str
    forgotten_person: str
    forgotten_tag: str
    enrolled_on: Mapping[str, tuple[str, ...]]
    identities: Mapping[str, types.NodeIdentity]
    programmed: Mapping[str, GetStatusResponse]
    #: What the task measured before the person to forget was ever enrolled, while they were, and after the forget.
    never: Mapping[str, M]
    before: Mapping[str, M]
    after: Mapping[str, M]
    #: What it measured last, when the newcomer had been learnt; empty for a task without one.
    welcomed: Mapping[str, M]
    status_before: Mapping[str, GetStatusResponse]
    status_after: Mapping[str, GetStatusResponse]
    #: What trained the LoRA, before the forget, and again with the newcomer; nothing for a task without one.
    learnt: Learnt
    learnt_again: Learnt
    jobs: tuple[operator.LearningJob, ...]
    flower_runs: tuple[RunInfo, ...]
    outage: Outage
    forget: operator.Forget
    #: On every node, with receipts.
    executions: Sequence[operator.Execution]
    #: Lines of the offline check of the certificate, against the key that nodes got when they enrolled.
    certificate: tuple[CheckLine, ...]
    #: Forget generation that each `/metrics` told before and after.
    metrics_moved: Mapping[str, tuple[float, float]]
    step_seconds: Mapping[str, float]
    #: The same people on chips that are worn or too small, simulated.
    chips: tuple[ChipRates, ...] = ()
