"""Examination of a recognition task: a small fleet that runs it, and what came of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from reram_fleet.code_ranges import CodeRange
from torch import Tensor

from edge_node.errors import EdgeNodeError
from edge_node.recognition.engine import Engine
from edge_node.recognition.head import HeadAdapter
from edge_node.tasks import RecognitionTask
from fleet.documents import Document, document
from fleet.errors import InvalidInputError
from fleet.heads.errors import HeadError
from fleet.lab.fleets.captured_fleet import NODES, PRESET, CapturedFleet, share_named
from hwmodel import Phase, load_preset

#: Samples that one chip alone reads again.
_READ_AGAIN = 3


@dataclass(frozen=True)
class Examination:
    """Figures of a task on three chips, where everybody who gets enrolled is.

    Attributes
    ----------
    public, enrolled, strangers
        How many people have which role.
    features, code_max, largest_code
        Of the code range; and the largest code that was seen.
    layers
        Crossbars of the backbone, with inputs and outputs.
    accuracy, accuracy_subject_only
        Share of the enrolled people's test samples that are named right; and by subject adapters without the head.
    accepted, strangers_accepted
        Share of the enrolled people's test samples, and of the strangers' samples, that are accepted.
    program_j, sample_j
        Modelled energy of one chip, to be programmed and to read a sample.
    """

    task: str
    public: int
    enrolled: int
    strangers: int
    features: int
    code_max: int
    largest_code: int
    layers: dict[str, tuple[int, int]]
    accuracy: float
    accuracy_subject_only: float
    accepted: float
    strangers_accepted: float
    program_j: float
    sample_j: float

    def document(self) -> Document:
        """Return it as a document."""
        return document("TaskExamination", **asdict(self))


def examine(
    task: RecognitionTask, codes: CodeRange, seed: int = 1, progress: Callable[[str], None] = lambda text: None
) -> Examination:
    """Run a task on a small simulated fleet and return what was seen.

    `InvalidInputError` if its data are not here, its samples or codes break what a fleet relies on, or the public
    people's samples do not tell who is who, so that no fleet could accept anybody.
    """
    try:
        progress("Programming chips, showing everybody's samples to them")
        fleet = CapturedFleet.of(task, seed)
        _check_codes(task, fleet, codes, seed)
        progress("Enrolling everybody")
        return _figures(task, fleet, codes)
    except (EdgeNodeError, HeadError) as error:
        raise InvalidInputError(str(error)) from error


def _figures(task: RecognitionTask, fleet: CapturedFleet, codes: CodeRange) -> Examination:
    engine = fleet.engine
    fleet.activate()
    head = fleet.statistics().build()
    adapter = HeadAdapter.load(head.tags, head.codes, head.scale_bits, head.threshold, features=engine.features)
    for node in range(NODES):
        engine.set_head(node, adapter.to_message())
    asked, truth = fleet.asked
    known, unknown = engine.identify(asked), engine.identify(fleet.strangers)
    network = engine.network(0)
    programming, before = engine.ledger.totals(0)[Phase.PROGRAM], engine.ledger.mark(0)
    engine.capture(task.load_people()[fleet.enrolled[0]].train[:1], nodes=[0])
    reading = engine.ledger.since(before)[Phase.INFER]
    return Examination(
        task=task.name,
        public=len(task.split.public),
        enrolled=len(fleet.enrolled),
        strangers=len(task.split.strangers),
        features=codes.features,
        code_max=codes.code_max,
        largest_code=_largest(fleet),
        layers={each.name: (each.inputs, each.outputs) for each in network.layers if not each.digital}
        if network
        else {},
        accuracy=share_named(known.best_tag, truth),
        accuracy_subject_only=share_named(known.best_tag_subject_only, truth),
        accepted=float(known.accepted.double().mean()),
        strangers_accepted=float(unknown.accepted.double().mean()),
        program_j=programming.energy_j,
        sample_j=reading.energy_j,
    )


def _largest(fleet: CapturedFleet) -> int:
    parts: list[Tensor] = [fleet.strangers, *fleet.train.values(), *fleet.test.values()]
    return max(int(part.abs().max()) for part in parts)


def _check_codes(task: RecognitionTask, fleet: CapturedFleet, codes: CodeRange, seed: int) -> None:
    """Refuse codes that are out of range, depend on who else is computed, or let nobody be accepted."""
    if fleet.engine.features != codes.features:
        raise InvalidInputError(
            f"task {task.name} makes {fleet.engine.features} codes of a sample, its code range says {codes.features}"
        )
    if (largest := _largest(fleet)) > codes.code_max:
        raise InvalidInputError(
            f"task {task.name} makes codes up to {largest}, its code range ends at {codes.code_max}"
        )
    name = fleet.enrolled[0]
    alone = Engine.build(task, load_preset(PRESET), seed, fleet.engine.node_ids[-1:])
    again = alone.capture(task.load_people()[name].train[:_READ_AGAIN][::-1])[0].flip(0)
    if not torch.equal(again, fleet.train[name][-1, :_READ_AGAIN]):
        raise InvalidInputError(
            f"task {task.name} makes other codes of the same samples when a chip is alone: a backbone's codes are the "
            "same for any batch, order and number of nodes"
        )
    if float(fleet.engine.accept_threshold.min()) <= 0:
        raise InvalidInputError(
            f"by what task {task.name} makes of them, samples of one public person are no more alike than those of "
            "several: nobody could be accepted",
            hint="A model that tells people apart, or more samples of each public person, would help.",
        )
