"""People who arrive in waves, and some who leave between them: what is kept, and what comes back.

The life of a fleet: three waves of faces arrive; one person of each is forgotten; a fourth wave arrives, and training
goes on for `MORE_ROUNDS` federated rounds. The closed-form head and subject adapters live through it beside each other,
and a cohort LoRA on small chips of the same people. Then a second task arrives on the same nodes: voices of
JapaneseVowels, which live through the same.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_node.recognition.head import HeadAdapter
from edge_node.tasks import RecognitionTask
from edge_node.tasks.faces import FACES_64, FacesTask
from edge_node.tasks.speakers import SPEAKERS
from edge_node.tasks.speakers_small import SPEAKERS_8
from fleet.lab.fleets.captured_fleet import CapturedFleet
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.continual_head import HeadLife
from tests.bench.workloads.continual_lora import LoraLife
from tests.bench.workloads.face_fleet import NODES, face_fleet
from tests.bench.workloads.faces import install
from tests.bench.workloads.resurfacing import Resurfacing, refused_returns

#: Not used for any choice: the workload was written on seeds 290 and 291.
SEEDS = (300, 301, 302, 303, 304)
#: Federated rounds after those of the last wave.
MORE_ROUNDS = 20


@dataclass(frozen=True)
class Life:
    """One task's people on one fleet: each learner's trajectory, and what the forgotten meet in each kind of adapter.

    `returns_refused` is the share of the ways back for a forgotten tag that were refused.
    """

    trajectories: tuple[Trajectory, ...]
    resurfacing: tuple[Resurfacing, ...]
    returns_refused: float


@dataclass(frozen=True)
class ContinualRun:
    """The two tasks of one seed.

    `first_task_unchanged`: whether what the chips make of faces, and the head's answers, are bitwise what they were
    before the second task was programmed into the same nodes and lived there.
    """

    faces: Life
    voices: Life
    first_task_unchanged: bool


def run(seed: int, nodes: int = NODES) -> ContinualRun:
    """Measure faces and voices of one seed."""
    faces = face_fleet(seed, nodes=nodes)
    first = live(faces, FACES_64.with_seed(seed), seed)
    head = install(faces.statistics().build(), faces)
    before = _said(faces, head, seed)
    second = live(CapturedFleet.of(SPEAKERS, seed, nodes), SPEAKERS_8.with_seed(seed), seed)
    return ContinualRun(first, second, before == _said(faces, head, seed))


def live(fleet: CapturedFleet, small: RecognitionTask, seed: int, more_rounds: int = MORE_ROUNDS) -> Life:
    """Let people arrive and leave, on a fleet and on small chips; return what was measured."""
    plan = Arrivals.of(fleet.enrolled, seed)
    with tempfile.TemporaryDirectory() as folder:
        closed, lora = HeadLife(fleet, plan), LoraLife(small, seed, more_rounds, Path(folder))
        return Life(
            trajectories=(*closed.trajectories(), lora.trajectory()),
            resurfacing=(*closed.resurfacing(), lora.resurfacing()),
            returns_refused=refused_returns(len(plan.leaving)),
        )


def _said(fleet: CapturedFleet, head: HeadAdapter, seed: int) -> str:
    """Return the digest of test photos as the chips see them now, and of the head's answers."""
    people = FacesTask.of(seed).load_people()
    codes = fleet.engine.capture([photo for name in fleet.enrolled for photo in people[name].test])
    return hashlib.sha256(codes.numpy().tobytes() + head.scores(codes).numpy().tobytes()).hexdigest()
