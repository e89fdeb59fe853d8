"""Open set of faces that nobody tuned to: two sets of photos, by the head alone, by a node's answer, and plainly.

Features were chosen on Extended Yale B, seeds 0 to 4, and the division by length on Olivetti, seeds 0 to 9 (ADR 29).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.backbones.filters import FINE
from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.tasks.faces import OLIVETTI, PhotoSet
from edge_node.tasks.faces_yale_b import YALE_B
from fleet.lab.fleets.captured_fleet import CapturedFleet
from tests.bench.workloads.face_baselines import BASELINES, PixelSplit
from tests.bench.workloads.face_fleet import NODES, face_fleet
from tests.bench.workloads.faces import OpenSetRates, accuracy, install
from tests.bench.workloads.head_answers import HeadAnswer

#: Not used for any choice, of either set.
SEEDS = tuple(range(700, 710))
SETS: Mapping[str, PhotoSet] = {"Extended Yale B": YALE_B, "Olivetti": OLIVETTI}


@dataclass(frozen=True)
class OpenSet:
    """Share of known people's photos that are named right, and how strangers fare beside them."""

    accuracy: float
    rates: OpenSetRates


@dataclass(frozen=True)
class OpenSetRun:
    """One split with its chips."""

    #: Scores of the closed-form head as they are.
    raw_head: OpenSet
    #: In units of the length of the sample, as nodes use them.
    head: OpenSet
    #: Answers of nodes: head and subject adapters together.
    node: OpenSet
    #: By name; their thresholds are not fixed beforehand.
    baselines: Mapping[str, OpenSet]


def run(seed: int, photos: PhotoSet, nodes: int = NODES) -> OpenSetRun:
    """Measure the photos of one seed; each photo is shown to every node."""
    fleet = face_fleet(seed, nodes=nodes, layout=FINE, photos=photos)
    codes, truth = fleet.asked
    head = install(fleet.statistics().build(), fleet)
    calibration = ScoreCalibration.fit(torch.from_numpy(fleet.public.codes), torch.from_numpy(fleet.public.person))

    def by_length(asked: Tensor) -> HeadAnswer:
        strength = [calibration.strength(n, calibration.whitening.chip(n).of(mine)) for n, mine in enumerate(asked)]
        return HeadAnswer.of_margins(head.tags, head.margins(asked, torch.stack(strength)))

    pixels = PixelSplit.of(photos, seed)
    plain = {name: _open_set(*pixels.answers(fit(pixels)), pixels.truth) for name, fit in BASELINES.items()}
    return OpenSetRun(
        _open_set(HeadAnswer.of(head, codes), HeadAnswer.of(head, fleet.strangers), truth),
        _open_set(by_length(codes), by_length(fleet.strangers), truth),
        _open_set(*answers_of_nodes(fleet, head), truth),
        plain,
    )


def _open_set(known: HeadAnswer, strangers: HeadAnswer, truth: Sequence[str]) -> OpenSet:
    return OpenSet(accuracy(known, truth), OpenSetRates.of(known, strangers))


def answers_of_nodes(fleet: CapturedFleet, head: HeadAdapter) -> tuple[HeadAnswer, HeadAnswer]:
    """Return what nodes with everybody's adapters and the head answer to test photos, and to strangers'."""
    engine, message = fleet.engine, head.to_message()
    fleet.activate()
    for node in range(len(engine.node_ids)):
        engine.set_head(node, message)
    known, strangers = (engine.identify(codes) for codes in (fleet.asked[0], fleet.strangers))
    return (
        HeadAnswer.of_scores(known.best_tag, known.score, engine.accept_threshold),
        HeadAnswer.of_scores(strangers.best_tag, strangers.score, engine.accept_threshold),
    )
