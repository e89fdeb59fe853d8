"""Verification of tasks that generate: a class deleted exactly, and a public one erased approximately.

Chips learn two private classes; one is forgotten, and a third one arrives. They are held against chips that never had
the forgotten one and learnt the others all the same: bits of the adapters, images from the same noise, and how often
either generates the class by chance. The approximate eraser of a public class has figures and no verdict: a class that
the backbone was trained on comes back when its eraser is stripped off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from edge_node.tasks import GenerationTask
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.lora.generator import AdaptedGenerator
from fleet.lab.paper.image_erasure import erasure_name
from fleet.lab.verification.evidence import AdapterKind, ExactEvidence
from fleet.lab.verification.image_scores import frechet_distance
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.report import VerificationReport
from hwmodel import Phase, keyed_seed


def verify_images(
    task: GenerationTask,
    size: Size | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> VerificationReport:
    """Forget a private class, erase a public one, and report both.

    The full size, which takes minutes, if none is given; `cache` is the folder of trained backbones, as for
    `cached_backbone`, and `progress` is called with what is being done.
    """

    def stage(what: str) -> Callable[[int, int], None]:
        progress(what)
        return lambda done, total: None

    recipe = task.recipe
    fleet = ImageFleet(task, size or Size(backbone=recipe.backbone, sampling=recipe.sampling), stage, cache)
    kept, forgotten, newcomer = task.private[:3]
    chips, never = fleet.program(), fleet.program()
    programmed = chips.ledger.mark()
    for label in (kept, forgotten):
        chips.install(fleet.learn(chips, label))
    known = _shown(fleet, chips, forgotten)
    chips.forget(forgotten)
    chips.install(fleet.learn(chips, newcomer))
    for label in (kept, newcomer):
        never.install(fleet.learn(never, label))
    progress("Comparing with chips that never had the class")
    left = _shown(fleet, chips, forgotten)
    scores = {
        "class forgotten, accuracy while it was enrolled": known.value,
        "class that arrived after the forget, accuracy": _shown(fleet, chips, newcomer).value,
        "class that was there before and after, accuracy": _shown(fleet, chips, kept).value,
        "class that was there before and after, style asked for": fleet.style_accuracy(
            fleet.generate(chips, "private", [kept], fleet.size.private_images)
        ),
    }
    evidence = ExactEvidence(
        AdapterKind.SUBJECT, _digest(fleet, chips), _digest(fleet, never), left, chance=_shown(fleet, never, forgotten)
    )
    scores |= _erased(fleet, chips)
    spent = chips.ledger.since(programmed)
    return VerificationReport(
        task=task.name,
        exact=(evidence,),
        scores=scores,
        energy_j={phase.value: spent[phase].energy_j for phase in Phase},
        cell_writes=sum(cost.cell_writes for cost in spent.values()),
    )


def _erased(fleet: ImageFleet, chips: AdaptedGenerator) -> dict[str, float]:
    """Erase a public class, look, strip the eraser off and look again; return the generation scores."""
    public, count = fleet.task.public, fleet.size.public_images
    label = public[keyed_seed(fleet.seed, "images.erased") % len(public)]
    before = fleet.generate(chips, "public", public, count)
    chips.install(fleet.erase(chips, label))
    after = fleet.generate(chips, "public", public, count)
    chips.bank.remove(erasure_name(label))
    stripped = fleet.generate(chips, "public", [label], count)

    def others(generated: dict[int, Tensor]) -> float:
        return fleet.accuracy({other: images for other, images in generated.items() if other != label})

    def distance(generated: dict[int, Tensor]) -> float:
        images = [generated[other].flatten(0, 1) for other in public if other != label]
        real = fleet.public.levels[fleet.public.labels != label]
        return frechet_distance(fleet.judge.activations(torch.cat(images)), fleet.judge.activations(real))

    return {
        "erased class, accuracy before": fleet.judge.accuracy(before[label], label),
        "erased class, accuracy with the eraser": fleet.judge.accuracy(after[label], label),
        "erased class, accuracy with the eraser stripped": fleet.judge.accuracy(stripped[label], label),
        "other public classes, accuracy before": others(before),
        "other public classes, accuracy with the eraser": others(after),
        "other public classes, Frechet distance to real ones before": distance(before),
        "other public classes, Frechet distance to real ones with the eraser": distance(after),
    }


def _shown(fleet: ImageFleet, chips: AdaptedGenerator, label: int) -> Rate:
    """Return how many images that are generated of a class show it, on all nodes: each from noise of its own."""
    images = fleet.generate(chips, "private", [label], fleet.size.private_images)[label]
    hits = fleet.judge.classes(images) == label
    return Rate(int(hits.sum()), hits.numel())


def _digest(fleet: ImageFleet, chips: AdaptedGenerator) -> str:
    """Return the digest of every node's active adapters, and of images of all classes."""
    parts = [*fleet.adapter_digests(chips), fleet.images_digest(chips)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
