"""Verifying forgetting end to end on a simulated fleet: every kind of adapter, one report.

Some people of a fleet are forgotten, one at a time, each together with a planted canary. The exact kinds are
held against a fleet that never enrolled them, the shared LoRA against one that was trained without them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter
from torch import Tensor

from edge_node.errors import EdgeNodeError, TaskError, VerificationError
from edge_node.recognition.engine import Engine
from edge_node.recognition.head import HeadAdapter
from edge_node.tasks.speakers import SPEAKERS
from fleet.documents import document
from fleet.errors import InvalidInputError, NotFoundError
from fleet.heads.enrolment import CodeSum, FleetHead, NodeShare
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics
from fleet.lab.fleets.approximate_repair import ROUNDS, chosen
from fleet.lab.fleets.face_fleet import PRESET, FaceFleet
from fleet.lab.fleets.shared_lora_fleet import RESURFACING_ROUNDS, SharedLoraFleet
from fleet.lab.fleets.verification_pairs import VerificationPairs
from fleet.lab.paper.methods import METHODS, method_named
from fleet.lab.verification import (
    AdapterKind,
    ApproximateEvidence,
    Canary,
    DigestPair,
    ExactEvidence,
    Rate,
    RepairPair,
    VerificationReport,
)
from fleet.lab.verification.verify_cohort import CohortVerification
from fleet.lab.verification.verify_images import verify_images
from hwmodel import Phase, load_preset

#: Tasks that can be verified; speakers and images need no data but what comes with the packages.
TASKS = ("faces", "speakers", "images")
SPEAKER_NODES = 3
CANARY = "canary"
#: Samples of the canary: the first half is planted, the others ask for it.
CANARY_SAMPLES = 10

Progress = Callable[[str], None]


def report_document(report: VerificationReport) -> dict[str, Any]:
    """Return a report as the CLI prints and stores it."""
    return document("VerificationReport", **report.document())


def read_report(path: Path) -> VerificationReport:
    """Read a stored report and judge its evidence anew.

    Raises
    ------
    NotFoundError
        If there is no such file.
    InvalidInputError
        If it is not a report, or its verdicts do not follow from its evidence.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("kind") != "VerificationReport":
        raise InvalidInputError(
            f"{path} is not a verification report", hint="`fleet verify --task speakers --output DIR` writes one."
        )
    try:
        return VerificationReport.of_document(body)
    except EdgeNodeError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def verify_task(
    task: str, *, seed: int = 1, people: int = 3, method: str = METHODS[0], progress: Progress = lambda text: None
) -> VerificationReport:
    """Forget people of a task's fleet and report what became of them in every kind of adapter.

    Parameters
    ----------
    task
        One of `TASKS`.
    seed
        Of split, chips and who is forgotten.
    people
        How many are forgotten, each from the full fleet; of images, one class is.
    method
        For the shared LoRA; images have their own, negative guidance.
    progress
        Called with what is being done.

    Raises
    ------
    InvalidInputError
        If there is no such task or method, its data are not here, or too many people are to be forgotten.
    """
    if task not in TASKS:
        raise InvalidInputError(f"cannot verify task {task!r}", hint=f"Known: {', '.join(TASKS)}.")
    if task == "images":
        return verify_images(seed, progress=progress)
    try:
        method_named(method)
        progress("Enrolling everybody")
        fleet = FaceFleet.of(seed) if task == "faces" else speaker_fleet(seed)
    except (TaskError, VerificationError) as error:
        raise InvalidInputError(str(error)) from error
    except EdgeNodeError as error:
        raise InvalidInputError(str(error), hint=f"Methods: {', '.join(METHODS)}.") from error
    if not 1 <= people < len(fleet.enrolled):
        raise InvalidInputError(
            f"{people} people cannot be forgotten: {len(fleet.enrolled)} are enrolled, and one must be left"
        )
    engine = fleet.engine
    mark, writes = engine.ledger.mark(), int(engine.cell_writes.sum())
    names = chosen(seed, fleet.enrolled, people)
    exact: dict[AdapterKind, list[ExactEvidence]] = {
        kind: [] for kind in (AdapterKind.SUBJECT, AdapterKind.HEAD, AdapterKind.COHORT)
    }
    error_rates = []
    progress("Cohort LoRA, everybody")
    cohorts = CohortVerification(fleet, seed, CANARY_SAMPLES // 2)
    for name in names:
        progress(f"Exact kinds, person {fleet.enrolled.index(name)}")
        exact[AdapterKind.SUBJECT].append(_forget_subject_adapter(fleet, name))
        evidence, rate = _forget_in_head(fleet, name)
        exact[AdapterKind.HEAD].append(evidence)
        error_rates.append(rate)
        exact[AdapterKind.COHORT].append(cohorts.forget(name))
    pairs, repair_j = _repair(fleet, seed, names, method, progress)
    repair_j[Phase.TRAIN] += cohorts.replay_cost.energy_j
    spent = [engine.ledger.since(mark, node) for node in range(len(engine.node_ids))]
    return VerificationReport(
        task=task,
        exact=tuple(_together(found) for found in exact.values()),
        approximate=(ApproximateEvidence(AdapterKind.SHARED, method, tuple(pairs), RESURFACING_ROUNDS),),
        scores={"equal error rate of the people who are left": float(np.mean(error_rates))},
        energy_j={
            phase.value: repair_j.get(phase, 0.0) + sum(cost[phase].energy_j for cost in spent) for phase in Phase
        },
        cell_writes=int(engine.cell_writes.sum()) - writes,
    )


def speaker_fleet(seed: int, nodes: int = SPEAKER_NODES) -> FaceFleet:
    """Return the nine JapaneseVowels speakers as a captured fleet: what it holds of faces, of voices."""
    engine = Engine.build(SPEAKERS, load_preset(PRESET), seed, [f"n{node}" for node in range(nodes)])
    people, split = SPEAKERS.load_people(), SPEAKERS.split
    public = SPEAKERS.public_samples()
    ordered = sorted(public)
    strangers = [sample for name in split.strangers for sample in (*people[name].train, *people[name].test)]
    return FaceFleet(
        engine,
        PublicCodes(
            engine.capture([sample for name in ordered for sample in public[name]]).numpy(),
            np.repeat(np.arange(len(ordered)), [len(public[name]) for name in ordered]),
        ),
        tuple(sorted(split.enrolled)),
        {name: engine.capture(people[name].train) for name in split.enrolled},
        {name: engine.capture(people[name].test) for name in split.enrolled},
        engine.capture(strangers),
        {name: (k % nodes, (k + 1) % nodes) for k, name in enumerate(sorted(split.enrolled))},
    )


def _forget_subject_adapter(fleet: FaceFleet, name: str) -> ExactEvidence:
    """Drop the person's adapter and the canary's everywhere; compare with a fleet that never had them."""
    engine, nodes = fleet.engine, range(len(fleet.engine.node_ids))
    planted, asked = _canary(fleet)
    canary = SubjectAdapter(subject_tag=CANARY, count=len(planted), code_sum=planted.sum(axis=0).tolist())
    fleet.activate()
    for node in nodes:
        engine.set_subject(node, canary)
    before = _named(engine.identify(asked, Phase.VERIFY).best_tag, CANARY)
    for node in nodes:
        engine.drop_subjects(node, [name, CANARY])
    after = _named(engine.identify(asked, Phase.VERIFY).best_tag, CANARY)
    recognised = _named(engine.identify(fleet.test[name], Phase.VERIFY).best_tag, name)
    never = fleet.subject_adapters([kept for kept in fleet.enrolled if kept != name])
    return ExactEvidence(
        AdapterKind.SUBJECT,
        _digest([_adapters_digest(engine.active_subjects(node)) for node in nodes]),
        _digest([_adapters_digest(never) for _ in nodes]),
        recognised,
        Canary(before, after),
    )


def _forget_in_head(fleet: FaceFleet, name: str) -> tuple[ExactEvidence, float]:
    """Subtract the person and the canary and solve again; also return the EER of who is left."""
    planted, asked = _canary(fleet)
    statistics = HeadStatistics.of(planted)
    share = NodeShare(statistics, {CANARY: CodeSum(statistics.code_sum, statistics.count)})
    books = fleet.books().with_share(share)
    before = _named(_installed(books.build(), fleet).identify(asked).best_tag, CANARY)
    mine = HeadStatistics.of(torch.cat(list(fleet.captured(name).values())).numpy())
    head = books.without(name, mine).without(CANARY, statistics).build()
    installed = _installed(head, fleet)
    kept = [other for other in fleet.enrolled if other != name]
    evidence = ExactEvidence(
        AdapterKind.HEAD,
        head.digest(),
        fleet.books(kept).build().digest(),
        _named(installed.identify(fleet.test[name]).best_tag, name),
        Canary(before, _named(installed.identify(asked).best_tag, CANARY)),
    )
    scores = installed.scores(torch.cat([fleet.test[other] for other in kept], dim=1))
    truth = np.concatenate([np.full(fleet.test[o].shape[1], head.tags.index(o)) for o in kept])
    flat = scores.reshape(-1, scores.shape[2]).numpy()
    return evidence, VerificationPairs.of(flat, np.tile(truth, len(scores))).equal_error_rate()


def _repair(
    fleet: FaceFleet, seed: int, names: Sequence[str], method_name: str, progress: Progress
) -> tuple[list[RepairPair], dict[Phase, float]]:
    """Repair the shared LoRA for each person; return the pairs and the joules by phase."""
    method, preset = method_named(method_name), load_preset(PRESET)
    shared = SharedLoraFleet(fleet, preset, seed)
    pairs, joules = [], dict.fromkeys(Phase, 0.0)
    for name in names:
        progress(f"Shared LoRA, person {shared.names.index(name)}")
        retrained = shared.retrained(name)
        repaired = shared.repaired(name, method, ROUNDS, shared.cleared(name))
        pairs.append(
            RepairPair(
                f"person {shared.names.index(name)}",
                seed,
                shared.scores(name, shared.original),
                shared.scores(name, repaired, resurfacing=True),
                shared.scores(name, retrained, resurfacing=True),
                *shared.distances(name, repaired, retrained),
            )
        )
        for phase, spent in shared.repair_cost(name, method, ROUNDS, preset).items():
            joules[phase] += spent.energy_j
    return pairs, joules


def _canary(fleet: FaceFleet) -> tuple[np.ndarray, Tensor]:
    """Return a stranger's samples: codes to plant, taken on the first node, and to ask every node with."""
    half = CANARY_SAMPLES // 2
    return fleet.strangers[0, :half].numpy(), fleet.strangers[:, half:CANARY_SAMPLES]


def _installed(head: FleetHead, fleet: FaceFleet) -> HeadAdapter:
    return HeadAdapter.load(head.tags, head.codes, head.scale_bits, head.threshold, features=fleet.engine.features)


def _named(best_tag: Sequence[Sequence[str]], tag: str) -> Rate:
    hits = [best == tag for row in best_tag for best in row]
    return Rate(sum(hits), len(hits), len(best_tag))


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
        _sum([evidence.recognised for evidence in found]),
        Canary(_sum([canary.named_before for canary in canaries]), _sum([canary.named_after for canary in canaries])),
        unaffected=_paired([evidence.unaffected for evidence in found]),
        later=_paired([evidence.later for evidence in found]),
        later_rounds=found[0].later_rounds,
    )


def _paired(found: Sequence[DigestPair | None]) -> DigestPair | None:
    pairs = [pair for pair in found if pair is not None]
    if not pairs:
        return None
    return DigestPair(_digest([pair.found for pair in pairs]), _digest([pair.expected for pair in pairs]))


def _sum(rates: Sequence[Rate]) -> Rate:
    return sum(rates[1:], start=rates[0])
