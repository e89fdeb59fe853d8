"""The protocol's outcome as one document: table, seeds, and what follows, in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from fleet.documents import Document, document
from fleet.lab.paper.arms import PRESET, Hardware, Progress
from fleet.lab.paper.measures import MEASURES, Measure, PaperTask
from fleet.lab.paper.seeds import run_seeds

#: How far outside the range of our seeds a figure of the paper may lie to be called consistent.
CONSISTENT_WITHIN = 0.02
#: A person counts as back from here on, and as still forgotten below the other.
_BACK, _GONE = 0.5, 0.05

#: Ends of the field names of a seed's arms, by what they ran on.
_SUFFIX = {Hardware.CHIP: "", Hardware.NOISE_FREE: "_noise_free"}

#: What the paper's protocol is not given by, or what we do otherwise.
_DIFFERENCES = {
    PaperTask.FACES: (
        (
            "ours: how views are made, images at mean 0 and mean square 1, a fifth of the views tested on, "
            "alpha and epochs of the second LoRA; the forgotten person is another one for each seed"
        ),
        "the honest arm tests on 2 photos a person: its 60 views a person are not 60 photos",
        "the backbone is trained in float and programmed; its LoRAs are trained on the chip as it is",
    ),
    PaperTask.SPEAKERS: (
        "other data: five speakers of the Spiking Speech Commands cannot be had here",
        "ours: how recordings become spikes, learning rates, full-batch epochs of the LoRAs",
        "as published, recordings are divided at random: everybody is tested on words they were learnt from",
    ),
    PaperTask.IMAGES: (
        (
            "other data and size: scikit-learn's 8x8 digits and 243,012 parameters instead of styles of "
            "UnlearnCanvas at 128 pixels and a DiT-B/2; a style is a class here"
        ),
        ("the backbone has seen seven classes; as published one of them is erased, honest is one of the other three"),
        "a judge trained on all classes says what an image shows: it is no part of the chip",
    ),
}


def paper_document(task: PaperTask, seeds: int | None, progress: Progress, folder: Path | None) -> Document:
    """Run the seeds of a task and return the outcome; arguments and errors as `run_seeds`."""
    return outcome(task, run_seeds(task, seeds, progress, folder))


def outcome(task: PaperTask, runs: Sequence[Document]) -> Document:
    """Return the document of finished seeds, at least one."""
    figures = [run["figures"] for run in runs]
    sections = [
        {
            "hardware": hardware.value,
            "title": f"on simulated {PRESET} chips" if hardware is Hardware.CHIP else "without errors of a chip",
            "rows": [_row(measure, figures, suffix) for measure in MEASURES[task]],
        }
        for hardware, suffix in _SUFFIX.items()
        if f"published{suffix}" in figures[0]
    ]
    data = sorted({figure["data"] for figure in figures if "data" in figure})
    return document(
        "PaperProtocol",
        task=task.value,
        paper="arXiv 2601.10037",
        preset=PRESET,
        data=data,
        seeds=[run["seed"] for run in runs],
        sections=sections,
        findings=_findings(task, {row["field"]: row for row in sections[0]["rows"]}),
        differences=list(_DIFFERENCES[task]),
        runs=list(runs),
    )


def _row(measure: Measure, figures: Sequence[Document], suffix: str) -> Document:
    return {
        "field": measure.field,
        "name": measure.name,
        "strip": measure.strip,
        "share": measure.share,
        "paper": measure.paper,
        "paper_source": measure.source,
        "published": _spread([float(f[f"published{suffix}"][measure.field]) for f in figures]),
        "honest": _spread([float(f[f"honest{suffix}"][measure.field]) for f in figures]),
    }


def _spread(values: list[float]) -> Document:
    return {"mean": statistics.fmean(values), "low": min(values), "high": max(values), "seeds": values}


def _findings(task: PaperTask, rows: dict[str, Document]) -> list[str]:
    """Return what follows from the rows of the chip, the strip test first."""

    def mean(field: str, arm: str) -> float:
        return float(rows[field][arm]["mean"])

    who = "class" if task is PaperTask.IMAGES else "person"
    gone = "erased" if task is PaperTask.IMAGES else "forgotten"
    findings = []
    for arm in ("published", "honest"):
        if task is PaperTask.IMAGES and arm == "honest":
            continue
        back = mean("stripped", arm)
        verdict = (
            "the adapter is a mask, and the array still knows"
            if back >= _BACK
            else "it stays away"
            if back <= _GONE
            else "it is partly back"
        )
        findings.append(
            f"Strip test, {'as published' if arm == 'published' else 'honest split'}: with the unlearning "
            f"adapter taken off, the {who} is recognised in {back:.2f} of the tests, against "
            f"{1 - mean(gone, arm):.2f} with it and {mean('known', arm):.2f} before: {verdict}"
        )
    if task is PaperTask.IMAGES:
        findings.append(
            f"A class that the backbone never saw is shown in {mean('known', 'honest'):.2f} by its own LoRA, "
            f"and in {mean('stripped', 'honest'):.2f} once that is destroyed, with nothing left to take off; "
            f"in {mean('as_programmed', 'honest'):.0%} of the runs the chip is then, to the bit, the one "
            "that was programmed, which never knew it"
        )
    else:
        leaked = mean("leaked", "published")
        shared = (
            f"{leaked:.0%} of the tests show photos that were also learnt from"
            if leaked > 0
            else "tested on words and sessions that were learnt from"
        )
        findings.append(
            f"Accuracy on five people: {mean('base', 'published'):.3f} as published ({shared}), "
            f"{mean('base', 'honest'):.3f} honest"
        )
        for arm in ("published", "honest"):
            if mean("forgotten", arm) < 1 - _GONE:
                findings.append(
                    f"The paper's recipe does not forget far enough on these chips: the person is still "
                    f"recognised in {1 - mean('forgotten', arm):.2f} of the tests with the adapter on "
                    f"({'as published' if arm == 'published' else 'honest'})"
                )
            resurfaced = 1 - mean("forgotten_after", arm)
            if resurfaced > _GONE:
                findings.append(
                    f"Learning a sixth person brings the forgotten one back in {resurfaced:.2f} of the tests "
                    f"({'as published' if arm == 'published' else 'honest'}), with the adapter still on"
                )
    return findings + _compared(rows)


def _compared(rows: dict[str, Document]) -> list[str]:
    """Return which of the paper's figures ours are consistent with; never more than that."""
    known = [row for row in rows.values() if row["paper"] is not None]
    if not known:
        return ["No figure of the paper is at hand for this task"]
    near, far = [], []
    for row in known:
        ours = row["published"]
        low, high = ours["low"] - CONSISTENT_WITHIN, ours["high"] + CONSISTENT_WITHIN
        said = f"{row['name']} {row['paper']:.3f} (ours {ours['mean']:.3f})"
        (near if low <= row["paper"] <= high else far).append(said)
    points = f"within {100 * CONSISTENT_WITHIN:g} points of the range of our seeds"
    found = []
    if near:
        found.append(f"Consistent with the paper ({points}): {'; '.join(near)}")
    if far:
        found.append(f"Not consistent with the paper ({points}): {'; '.join(far)}")
    return found
