"""What the demo saw: plain values, from which claims, report and table are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.trust.checks import CheckLine


@dataclass(frozen=True)
class Quality:
    """How one node treats test samples; rates are shares of samples, 0..1.

    Attributes
    ----------
    retain_accuracy, forget_accuracy
        Closed-set top-1 on the kept people, and on the person to forget.
    retain_accuracy_subject_only, forget_accuracy_subject_only
        The same by the subject adapters alone.
    retain_accuracy_without_head, forget_accuracy_without_head
        The same by subject adapters and LoRA, without the closed-form head.
    genuine_accept_rate, forget_accept_rate, stranger_accept_rate
        Samples at or above the calibrated threshold: of kept people, of the person to
        forget, and of people who were never enrolled.
    forget_samples, stranger_samples
        How many samples of the person to forget, and of strangers, were tried.
    backbone_only
        The node answered without adapters, so that none of the figures means anything.
    """

    retain_accuracy: float
    retain_accuracy_subject_only: float
    forget_accuracy: float
    forget_accuracy_subject_only: float
    retain_accuracy_without_head: float
    forget_accuracy_without_head: float
    genuine_accept_rate: float
    forget_accept_rate: float
    stranger_accept_rate: float
    forget_samples: int
    stranger_samples: int
    backbone_only: bool


@dataclass(frozen=True)
class ProbeAnswer:
    """One answer of the restarted node.

    Attributes
    ----------
    at_s
        Seconds since the process was started again.
    generation
        The node's own, as told in the same answer.
    named
        Samples for which the answer names any tag.
    named_forgotten
        Samples for which it names the forgotten person.
    """

    at_s: float
    backbone_only: bool
    reason: str | None
    generation: int
    named: int
    named_forgotten: int


@dataclass(frozen=True)
class Outage:
    """What happened to the node that was killed.

    Attributes
    ----------
    suppressed_by
        Nodes that had suppressed the forget while this one was down.
    leaked_meanwhile
        Samples of the forgotten person that a connected node named after it had suppressed.
    seconds_observed
        From the call of CreateForget until all connected nodes were seen as suppressed.
    probe_answers
        Every answer of the restarted node until it served again, oldest first.
    """

    node_id: str
    killed_pid: int
    suppressed_by: frozenset[str]
    leaked_meanwhile: int
    seconds_observed: float
    probe_answers: tuple[ProbeAnswer, ...]


@dataclass(frozen=True)
class FlowerRun:
    """One line of `flwr ls`."""

    run_id: int
    status: str


@dataclass(frozen=True)
class FleetEvidence:
    """What every demo saw of its fleet, by node id where it is per node.

    Attributes
    ----------
    certificate
        Lines of the offline check of the certificate, against the key that nodes got when they enrolled.
    """

    fleet_id: str
    forgotten_person: str
    forgotten_tags: frozenset[str]
    enrolled_on: Mapping[str, tuple[str, ...]]
    identities: Mapping[str, types.NodeIdentity]
    programmed: Mapping[str, GetStatusResponse]
    status_before: Mapping[str, GetStatusResponse]
    status_after: Mapping[str, GetStatusResponse]
    outage: Outage
    forget: operator.Forget
    certificate: tuple[CheckLine, ...]
    metrics_moved: Mapping[str, tuple[float, float]]
    step_seconds: Mapping[str, float]


@dataclass(frozen=True)
class Evidence(FleetEvidence):
    """All that a demo saw whose nodes recognise.

    Attributes
    ----------
    never_enrolled
        Share of the forgotten person's test samples that each node accepted as somebody when everybody else was
        enrolled, and they never had been.
    """

    never_enrolled: Mapping[str, float]
    before: Mapping[str, Quality]
    after: Mapping[str, Quality]
    train_job: operator.LearningJob
    jobs: tuple[operator.LearningJob, ...]
    flower_runs: tuple[FlowerRun, ...]


@dataclass(frozen=True)
class Drawings:
    """What one node drew, always from the same noise; shares are of images that show their class, 0..1.

    Attributes
    ----------
    public
        Share over the classes that the backbone was trained on.
    private
        Share of each kept private class, drawn by its tag.
    forgotten
        Share of the class to forget, drawn by its tag; None where the node refused.
    refusal
        Why it refused; empty where it drew.
    alone
        How many images of the class to forget show it, drawn by its name: by the backbone alone.
    alone_images
        How many were drawn.
    digest
        SHA-256 over all of these images but those of the forgotten tag.
    """

    public: float
    private: Mapping[str, float]
    forgotten: float | None
    refusal: str
    alone: int
    alone_images: int
    digest: str


@dataclass(frozen=True)
class DrawnEvidence(FleetEvidence):
    """All that a demo saw whose nodes draw.

    Attributes
    ----------
    never
        Before the class to forget was ever enrolled.
    before, after
        While it was, and after the forget.
    fresh_alone
        As `Drawings.alone`, after the forget and from noise that was not used before: hits and images, over
        all nodes.
    never_interval
        Exact binomial interval of `Drawings.alone` before the class was ever enrolled, over all nodes.
    fresh_p
        How likely two samples of one model differ as much or more (Fisher's exact test, two-sided).
    job_refusal
        Why the coordinator refused a learning job; empty if it made one.
    """

    never: Mapping[str, Drawings]
    before: Mapping[str, Drawings]
    after: Mapping[str, Drawings]
    fresh_alone: tuple[int, int]
    never_interval: tuple[float, float]
    fresh_p: float
    job_refusal: str
