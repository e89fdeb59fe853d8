"""The protocol's outcome as one document: seeds, each kept once it is finished, table, and what follows, in words."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from reram_fleet.processes.durable import write_atomically

from edge_node.errors import TaskError
from fleet.documents import API_VERSION, Document, document
from fleet.errors import InvalidInputError
from fleet.lab.paper import faces, images, speakers
from fleet.lab.paper.arms import PRESET, Hardware, Progress
from fleet.lab.paper.measures import MEASURES, Measure, PaperTask

#: Changes when the same settings give other figures: what is stored is then not taken for them.
_VERSION = 1

#: Each has `SEEDS`, `settings()` and `run(seed, progress)`, which returns a dataclass of plain numbers.
_MODULES = {PaperTask.FACES: faces, PaperTask.SPEAKERS: speakers, PaperTask.IMAGES: images}

#: How far outside the range of our seeds a figure of the paper may lie to be called consistent.
CONSISTENT_WITHIN = 0.02
#: A person counts as back from here on, and as still forgotten up to the other.
_BACK, GONE = 0.5, 0.05

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
            "other data and size: the project's own pictures of 24x24 pixels and 563,244 parameters instead of "
            "styles of UnlearnCanvas at 128 pixels and a DiT-B/2; a thing is erased here, not a style"
        ),
        ("the backbone has seen seven classes; as published one of them is erased, honest is one of the other three"),
        "a judge trained on all classes says what an image shows: it is no part of the chip",
    ),
}


def paper_document(task: PaperTask, seeds: int | None, progress: Progress, folder: Path | None) -> Document:
    """Run the first seeds of a task and return the outcome.

    Sets torch to one thread: with several, small products are slower on shared cores, and may round differently.

    `seeds` is how many, all of the task's if None. Finished ones are kept in the folder and looked for there, numbers
    only; nothing is kept if it is None.

    Raises
    ------
    InvalidInputError
        If there are not so many seeds, the data are missing, or the folder cannot be written to.
    """
    known = _MODULES[task].SEEDS
    if seeds is not None and not 1 <= seeds <= len(known):
        raise InvalidInputError(
            f"{task.value} has {len(known)} seeds that chose nothing; got {seeds}",
            hint=f"Give --seeds 1 to {len(known)}.",
        )
    torch.set_num_threads(1)
    try:
        return outcome(task, [_seed(task, seed, progress, folder) for seed in known[:seeds]])
    except TaskError as error:
        raise InvalidInputError(str(error)) from error


def _seed(task: PaperTask, seed: int, progress: Progress, folder: Path | None) -> Document:
    """Return a seed's number and figures, and keep them."""
    module = _MODULES[task]
    settings = hashlib.sha256(f"{_VERSION} {torch.__version__} {module.settings()}".encode()).hexdigest()
    expected = document("PaperSeed", task=task.value, seed=seed, settings=settings)
    path = folder / f"paper-{task.value}-seed-{seed}.json" if folder is not None else None
    if path is not None and (stored := _stored(path, expected)) is not None:
        return stored
    figures = asdict(module.run(seed, lambda what: progress(f"Seed {seed}, {what}")))
    finished = expected | {"figures": figures}
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(finished, indent=2) + "\n").encode())
        except OSError as error:
            raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
    return finished


def _stored(path: Path, expected: Document) -> Document | None:
    """Return a finished seed; None if there is none of these settings, or the file is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(found, dict) or found.get("api_version") != API_VERSION:
        return None
    same = all(found.get(name) == value for name, value in expected.items())
    return found if same and isinstance(found.get("figures"), dict) else None


def outcome(task: PaperTask, runs: Sequence[Document]) -> Document:
    """Return the document of finished seeds, at least one."""
    figures = [run["figures"] for run in runs]
    sections: list[Document] = [
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

    of_images = task is PaperTask.IMAGES
    who, gone = ("class", "erased") if of_images else ("person", "forgotten")
    splits = {"published": "as published"}
    if not of_images:
        splits["honest"] = "honest split"
    findings = []
    for arm, split in splits.items():
        back = mean("stripped", arm)
        verdict = "it stays away" if back <= GONE else "it is partly back"
        if back >= _BACK:
            verdict = "the adapter is a mask, and the array still knows"
        findings.append(
            f"Strip test, {split}: with the unlearning adapter taken off, the {who} is recognised in {back:.2f} of the "
            f"tests, against {1 - mean(gone, arm):.2f} with it and {mean('known', arm):.2f} before: {verdict}"
        )
    if of_images:
        findings.append(
            f"A class that the backbone never saw is shown in {mean('known', 'honest'):.2f} by its own LoRA, "
            f"and in {mean('stripped', 'honest'):.2f} once that is destroyed, with nothing left to take off; "
            f"in {mean('as_programmed', 'honest'):.0%} of the runs the chip is then, to the bit, the one "
            "that was programmed, which never knew it"
        )
        return findings + _compared(rows)
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
    for arm, split in (("published", "as published"), ("honest", "honest")):
        if mean("forgotten", arm) < 1 - GONE:
            findings.append(
                "The paper's recipe does not forget far enough on these chips: the person is still recognised in "
                f"{1 - mean('forgotten', arm):.2f} of the tests with the adapter on ({split})"
            )
        resurfaced = 1 - mean("forgotten_after", arm)
        if resurfaced > GONE:
            findings.append(
                f"Learning a sixth person brings the forgotten one back in {resurfaced:.2f} of the tests ({split}), "
                "with the adapter still on"
            )
    return findings + _compared(rows)


def _compared(rows: dict[str, Document]) -> list[str]:
    """Return which of the paper's figures ours are consistent with; never more than that."""
    known = [row for row in rows.values() if row["paper"] is not None]
    if not known:
        return ["No figure of the paper is at hand for this task"]
    found: dict[bool, list[str]] = {True: [], False: []}
    for row in known:
        ours = row["published"]
        near = ours["low"] - CONSISTENT_WITHIN <= row["paper"] <= ours["high"] + CONSISTENT_WITHIN
        found[near].append(f"{row['name']} {row['paper']:.3f} (ours {ours['mean']:.3f})")
    points = f"within {100 * CONSISTENT_WITHIN:g} points of the range of our seeds"
    return [
        f"{'Consistent' if near else 'Not consistent'} with the paper ({points}): {'; '.join(rows_said)}"
        for near, rows_said in found.items()
        if rows_said
    ]
