"""Verification of tasks that generate: a class is deleted exactly, and a style that the backbone knows is masked.

Nodes learn two private classes; one is forgotten, a node is put back to a backup of when it knew that class, and a
third one arrives. They are held against a fleet that never had the forgotten one and learnt the others all the same: by
the integers of its adapters, pictures from the same noise, and how often either shows the class by chance. Then a
style is forgotten: the crossbars hold it for good, so its eraser is looked at with and without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.wire.concepts import STYLE, concept_name

from edge_node.tasks import GenerationTask
from fleet.lab.fleets.captured_fleet import PRESET
from fleet.lab.verification.evidence import AdapterKind, ExactEvidence, MaskEvidence
from fleet.lab.verification.generating_fleet import GeneratingFleet
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.report import VerificationReport
from hwmodel import Cost, Phase, keyed_seed

#: Numbers of the private classes: enrolled throughout, forgotten, and enrolled after that.
KEPT, FORGOTTEN, NEWCOMER = 0, 1, 2
#: Names of scores: how often the private classes, by number, show while they are enrolled, and the first one's style.
LEARNT = (
    "class that was there before and after, accuracy",
    "class forgotten, accuracy while it was enrolled",
    "class that arrived after the forget, accuracy",
)
STYLED = "class that was there before and after, style asked for"
#: The same as the first, of all that are left, once a style is masked.
MASKED = "private classes, accuracy with the eraser"


@dataclass(frozen=True)
class PictureCounts:
    """Pictures on each node in each style.

    Attributes
    ----------
    private, public
        Of a private class, and of each public one, to be judged.
    compared
        Of every class, to compare nodes that forgot with nodes that never knew.
    """

    private: int = 8
    public: int = 2
    compared: int = 1


def verify_images(
    task: GenerationTask,
    seed: int,
    folder: Path,
    *,
    counts: PictureCounts = PictureCounts(),
    progress: Callable[[str], None] = lambda text: None,
) -> VerificationReport:
    """Forget a private class and a style, and report both; `progress` is called with what is being done."""
    progress("Learning two classes on real nodes")
    fleet = GeneratingFleet(task, seed, folder, PRESET)
    fleet.enrol([KEPT, FORGOTTEN])
    known = fleet.by_tag("enrolled", FORGOTTEN, counts.private)
    restore, meter = fleet.backup(), fleet.meter()
    progress(f"Forgetting {task.split.enrolled[FORGOTTEN]}")
    fleet.forget(FORGOTTEN)
    spent = meter()
    restore()
    fleet.enrol([NEWCOMER])
    progress("The same without it")
    never = GeneratingFleet(task, seed, folder, PRESET)
    never.enrol([KEPT])
    never.enrol([NEWCOMER])
    progress("Comparing with nodes that never had the class")
    evidence, scores = compared(fleet, never, counts)
    never.close()
    style = task.styles[keyed_seed(seed, "verification.style") % len(task.styles)]
    meter = fleet.meter()
    mask = masked(fleet, style, counts, progress)
    # Of the forget alone: what is generated to look at it is the laboratory's.
    spent = {phase: spent[phase] + (found if phase is not Phase.INFER else Cost()) for phase, found in meter().items()}
    gone = task.split.enrolled[FORGOTTEN]
    scores = {LEARNT[FORGOTTEN]: fleet.shown(known, gone).value, **scores, MASKED: _private(fleet, counts).value}
    fleet.close()
    return VerificationReport(
        task=task.name,
        exact=(evidence,),
        masked=(mask,),
        scores=scores,
        energy_j={phase.value: cost.energy_j for phase, cost in spent.items()},
        cell_writes=sum(cost.cell_writes for cost in spent.values()),
    )


def compared(
    fleet: GeneratingFleet, never: GeneratingFleet, counts: PictureCounts
) -> tuple[ExactEvidence, dict[str, float]]:
    """Return what shows that nothing is left of the forgotten class, and how the others fare."""
    names = fleet.task.split.enrolled
    gone = names[FORGOTTEN]
    kept = fleet.by_tag("kept", KEPT, counts.private)

    def named(one: GeneratingFleet) -> Rate:
        return one.shown(one.by_name("named", gone, counts.private), gone)

    evidence = ExactEvidence(
        AdapterKind.SUBJECT,
        fleet.digest("compared", counts.compared),
        never.digest("compared", counts.compared),
        named(fleet),
        chance=named(never),
    )
    newcomer = fleet.by_tag("newcomer", NEWCOMER, counts.private)
    return evidence, {
        LEARNT[NEWCOMER]: fleet.shown(newcomer, names[NEWCOMER]).value,
        LEARNT[KEPT]: fleet.shown(kept, names[KEPT]).value,
        STYLED: fleet.styled(kept).value,
    }


def masked(
    fleet: GeneratingFleet, style: str, counts: PictureCounts, progress: Callable[[str], None] = lambda text: None
) -> MaskEvidence:
    """Forget a style, and return what is seen of it with its eraser and with that taken off."""
    task = fleet.task
    name = concept_name(STYLE, style)
    progress(f"Forgetting {name}")
    fleet.forget_concept(name)
    progress(f"Looking for {name}")
    others = [other for other in task.styles if other != style]

    def drawn(styles: list[str]) -> Rate:
        found = [fleet.generated("mask", counts.public, styles, class_name=each) for each in task.split.public]
        return Rate.sum(fleet.styled(each, style if styles == [""] else None) for each in found)

    return MaskEvidence(
        concept=name,
        refused=fleet.refused(style),
        erased=fleet.erased(style),
        shows=fleet.styled(fleet.unasked("mask", counts.public, style, masked=True), style),
        unasked=drawn([""]),
        others=drawn(others),
        stripped=fleet.styled(fleet.unasked("mask", counts.public, style, masked=False), style),
    )


def _private(fleet: GeneratingFleet, counts: PictureCounts) -> Rate:
    names = fleet.task.split.enrolled
    return Rate.sum(
        fleet.shown(fleet.by_tag("masked", number, counts.private), names[number]) for number in (KEPT, NEWCOMER)
    )
