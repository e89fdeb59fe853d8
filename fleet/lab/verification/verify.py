"""Verification of forgetting on a simulated fleet, end to end: every kind of adapter, one report.

Some people of a fleet are forgotten, one at a time, each together with a planted canary. The exact kinds are held
against a fleet that never enrolled them, the shared LoRA against one that was trained without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter
from torch import Tensor

from edge_node.errors import EdgeNodeError
from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.head_share import packed_statistics
from edge_node.tasks import GenerationTask, load_task
from fleet.errors import InvalidInputError
from fleet.heads.enrolment import FleetHead, SufficientStatistics
from fleet.heads.errors import HeadError
from fleet.lab.fleets.captured_fleet import PRESET, CapturedFleet, chosen
from fleet.lab.fleets.shared_lora_fleet import REPAIR_ROUNDS, RESURFACING_ROUNDS, SharedLoraFleet
from fleet.lab.paper.methods import METHODS, Method, method_named
from fleet.lab.verification.evidence import (
    AdapterKind,
    ApproximateEvidence,
    Canary,
    DigestPair,
    ExactEvidence,
    RepairPair,
)
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import equal_error_rate
from fleet.lab.verification.report import VerificationReport
from fleet.lab.verification.verify_cohort import CANARY, CohortVerification
from fleet.lab.verification.verify_images import verify_images
from hwmodel import Phase, load_preset

#: Samples of the canary: the first half is planted, the others ask for it.
CANARY_SAMPLES = 10

Progress = Callable[[str], None]


def verify_task(
    name: str, *, seed: int = 1, people: int = 3, method: str = METHODS[0], progress: Progress = lambda text: None
) -> VerificationReport:
    """Forget people of a task's fleet and report what became of them in every kind of adapter.

    `InvalidInputError` if there is no such task or method, its data are not here, or too many people are to be
    forgotten.

    Parameters
    ----------
    name
        Of any task that is installed.
    seed
        Of chips, of who is forgotten, and of the split, where the task draws one.
    people
        How many are forgotten, each from the full fleet; of a task that generates, one class is.
    method
        For the shared LoRA; tasks that generate have their own, negative guidance.
    progress
        Called with what is being done.
    """
    try:
        task, repair = load_task(name, seed), method_named(method)
        if isinstance(task, GenerationTask):
            return verify_images(task, progress=progress)
        progress("Enrolling everybody")
        fleet = CapturedFleet.of(task, seed)
    except (EdgeNodeError, HeadError) as error:
        raise InvalidInputError(str(error)) from error
    if not 1 <= people < len(fleet.enrolled):
        raise InvalidInputError(
            f"{people} people cannot be forgotten: {len(fleet.enrolled)} are enrolled, and one must be left",
            hint=f"--people takes 1 to {len(fleet.enrolled) - 1}",
        )
    return _forget_people(name, fleet, seed, chosen(seed, fleet.enrolled, people), repair, progress)


def _forget_people(
    task: str, fleet: CapturedFleet, seed: int, names: Sequence[str], method: Method, progress: Progress
) -> VerificationReport:
    engine = fleet.engine
    marks = [engine.ledger.mark(node) for node in range(len(engine.node_ids))]
    writes = int(engine.cell_writes.sum())
    progress("Cohort LoRA, everybody")
    cohorts = CohortVerification(fleet, seed, CANARY_SAMPLES // 2)
    subjects, heads, shards, error_rates = [], [], [], []
    for name in names:
        progress(f"Exact kinds, person {fleet.enrolled.index(name)}")
        subjects.append(_forget_subject_adapter(fleet, name))
        evidence, head = _forget_in_head(fleet, name)
        heads.append(evidence)
        if len(fleet.enrolled) > 2:
            error_rates.append(_error_rate(fleet, head, name))
        shards.append(cohorts.forget(name))
    pairs, joules = _repair(fleet, seed, names, method, progress)
    joules[Phase.TRAIN] += cohorts.replay_cost.energy_j
    for mark in marks:
        for phase, spent in engine.ledger.since(mark).items():
            joules[phase] += spent.energy_j
    return VerificationReport(
        task=task,
        exact=tuple(_together(found) for found in (subjects, heads, shards)),
        approximate=(ApproximateEvidence(AdapterKind.SHARED, method.name, tuple(pairs), RESURFACING_ROUNDS),),
        scores={"equal error rate of the people who are left": fmean(error_rates)} if error_rates else {},
        energy_j={phase.value: spent_j for phase, spent_j in joules.items()},
        cell_writes=int(engine.cell_writes.sum()) - writes,
    )


def _forget_subject_adapter(fleet: CapturedFleet, name: str) -> ExactEvidence:
    """Drop the person's adapter and the canary's everywhere; compare with a fleet that never had them."""
    engine, nodes = fleet.engine, range(len(fleet.engine.node_ids))
    planted, asked = _canary(fleet)
    canary = SubjectAdapter(subject_tag=CANARY, count=len(planted), code_sum=planted.sum(dim=0).tolist())

    def named(codes: Tensor, tag: str) -> Rate:
        best_tag = engine.identify(codes, Phase.VERIFY).best_tag
        return Rate.of(torch.tensor([[best == tag for best in row] for row in best_tag]))

    fleet.activate()
    for node in nodes:
        engine.set_subject(node, canary)
    before = named(asked, CANARY)
    for node in nodes:
        engine.drop_subjects(node, [name, CANARY])
    after = named(asked, CANARY)
    recognised = named(fleet.test[name], name)
    never = fleet.subject_adapters([kept for kept in fleet.enrolled if kept != name])
    return ExactEvidence(
        AdapterKind.SUBJECT,
        _digest([_adapters_digest(engine.active_subjects(node)) for node in nodes]),
        _digest([_adapters_digest(never) for _ in nodes]),
        recognised,
        Canary(before, after),
    )


def _forget_in_head(fleet: CapturedFleet, name: str) -> tuple[ExactEvidence, FleetHead]:
    """Leave out what the person and the canary contributed and solve again; return the head that is left, too."""
    planted, asked = _canary(fleet)
    packed = [*fleet.packed(), (CANARY, packed_statistics(planted))]
    everybody = SufficientStatistics.of_packed(fleet.public, packed).build()
    before = _named_by(_installed(everybody, fleet), asked, CANARY)
    left = [(tag, part) for tag, part in packed if tag not in (name, CANARY)]
    head = SufficientStatistics.of_packed(fleet.public, left).build()
    installed = _installed(head, fleet)
    kept = [other for other in fleet.enrolled if other != name]
    evidence = ExactEvidence(
        AdapterKind.HEAD,
        head.digest(),
        fleet.statistics(kept).build().digest(),
        _named_by(installed, fleet.test[name], name),
        Canary(before, _named_by(installed, asked, CANARY)),
    )
    return evidence, head


def _error_rate(fleet: CapturedFleet, head: FleetHead, gone: str) -> float:
    """Return the EER of the people who are left, each claiming to be each of them."""
    kept = [other for other in fleet.enrolled if other != gone]
    scores = _installed(head, fleet).scores(torch.cat([fleet.test[other] for other in kept], dim=1)).numpy()
    truth = np.concatenate([np.full(fleet.test[o].shape[1], head.tags.index(o)) for o in kept])
    genuine = np.broadcast_to(np.arange(scores.shape[2]) == truth[:, None], scores.shape)
    return equal_error_rate(scores[genuine], scores[~genuine])


def _repair(
    fleet: CapturedFleet, seed: int, names: Sequence[str], method: Method, progress: Progress
) -> tuple[list[RepairPair], dict[Phase, float]]:
    """Repair the shared LoRA for each person; return the pairs and the joules by phase."""
    preset = load_preset(PRESET)
    shared = SharedLoraFleet(fleet, preset, seed)
    pairs, joules = [], dict.fromkeys(Phase, 0.0)
    for name in names:
        progress(f"Shared LoRA, person {shared.names.index(name)}")
        repaired = shared.repaired(name, method, REPAIR_ROUNDS, shared.cleared(name))
        pairs.append(shared.pair(name, repaired, shared.reference(name), resurfacing=True))
        for phase, spent in shared.repair_cost(name, method, REPAIR_ROUNDS, preset).items():
            joules[phase] += spent.energy_j
    return pairs, joules


def _canary(fleet: CapturedFleet) -> tuple[Tensor, Tensor]:
    """Return a stranger's samples: codes to plant, taken on the first node, and to ask every node with."""
    half = CANARY_SAMPLES // 2
    return fleet.strangers[0, :half], fleet.strangers[:, half:CANARY_SAMPLES]


def _installed(head: FleetHead, fleet: CapturedFleet) -> HeadAdapter:
    return HeadAdapter.load(head.tags, head.codes, head.scale_bits, head.threshold, features=fleet.engine.features)


def _named_by(head: HeadAdapter, codes: Tensor, tag: str) -> Rate:
    column = head.tags.index(tag) if tag in head.tags else -1
    # numpy says which of equal scores it takes; torch does not.
    return Rate.of(torch.from_numpy(head.scores(codes).numpy().argmax(axis=2) == column))


def _adapters_digest(adapters: Sequence[SubjectAdapter]) -> str:
    return _digest([adapter.SerializeToString(deterministic=True).hex() for adapter in adapters])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _together(found: Sequence[ExactEvidence]) -> ExactEvidence:
    """Return one record of several forgets: digests of all digests, so that a single difference shows."""
    canaries = [evidence.canary for evidence in found if evidence.canary]
    return ExactEvidence(
        found[0].kind,
        _digest([evidence.digest for evidence in found]),
        _digest([evidence.never_enrolled for evidence in found]),
        Rate.sum(evidence.recognised for evidence in found),
        Canary(Rate.sum(c.named_before for c in canaries), Rate.sum(c.named_after for c in canaries)),
        unaffected=_paired([evidence.unaffected for evidence in found]),
        later=_paired([evidence.later for evidence in found]),
        later_rounds=found[0].later_rounds,
    )


def _paired(found: Sequence[DigestPair | None]) -> DigestPair | None:
    pairs = [pair for pair in found if pair is not None]
    if not pairs:
        return None
    return DigestPair(_digest([pair.found for pair in pairs]), _digest([pair.expected for pair in pairs]))
