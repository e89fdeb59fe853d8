"""Learning in a history: jobs of the coordinator over engines that learn next to nothing, and runs that die."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.wire.shared_lora import SCALE_BITS

from edge_node.agent.node import Node
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from edge_node.testing import MemoryEngine
from fleet.domain.learning import JobKind, JobState
from fleet.errors import FleetError
from fleet.sim.faults.disks import Dies, Side
from fleet.sim.people import FEATURES
from fleet.store.rows import LearningJobRow
from hwmodel import Cost, Phase, keyed_seed

if TYPE_CHECKING:
    from fleet.sim.faults.plane import FaultyPlane

#: Who dies when the run of a job does.
RUN = "the run of a learning job"
#: What nodes measure of a LoRA that is as good after a repair as before, and shows nothing of the forgotten.
GOOD_REPAIR = {
    "loss": 0.5,
    "kept_samples_before": 0.5,
    "kept_hits_before": 0.4,
    "kept_samples_after": 0.5,
    "kept_hits_after": 0.4,
    "forget_samples_after": 0.25,
    "forget_accepted_after": 0.0,
    "forget_accepted_exactly_after": 0.0,
    "forget_shift_after": 0.0,
}


class LearningEngine(MemoryEngine):
    """Engine whose rounds set all codes of rows to one number, and measure what a judge accepts.

    Parameters
    ----------
    trained
        Called with the tags whose samples a round learns from.
    """

    def __init__(
        self, trained: Callable[[frozenset[str]], None], saved_costs: Mapping[Phase, Cost] | None = None
    ) -> None:
        super().__init__(saved_costs, features=FEATURES)
        self._trained = trained

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        """Return each state with a quarter in all its weights."""
        for request in requests:
            self._trained(frozenset(request.samples))
        results = super().run_rounds(requests)
        for result in results:
            state = result.state
            state.rows = np.full(len(state.subject_tags) * state.rank, 2 ** (SCALE_BITS - 2), "<i2").tobytes()
        return [RoundResult(each.state, max(1, each.num_examples), GOOD_REPAIR) for each in results]


class FaultyJobs:
    """Learning jobs of a fleet, played when there is one: what plays them is loaded then."""

    def __init__(self, plane: FaultyPlane, nodes: Callable[[], Mapping[int, Node]], seed: int) -> None:
        self._plane, self._nodes = plane, nodes
        self._player: Any = None
        #: The next run dies after so many rounds.
        self.dies_after: int | None = None
        self._randomness = seeded(keyed_seed(seed, "faults.jobs"))

    def start(self, rounds: int) -> None:
        """Ask for a shared LoRA; whoever asks while that cannot be done asks no more."""
        if self._player is None:
            from fleet.sim.jobs import ConnectedNodes, JobPlayer

            self._player = JobPlayer(self._plane, self._nodes, 64, self._round_done)
            self._plane.learning = self._plane.env.learning = ConnectedNodes()
            self._plane.play = self.play
        if not self._plane.runs:
            return
        try:
            with self._plane.stepped.transaction() as unit:
                unit.jobs.start(new_tag(self._randomness.draw), JobKind.TRAIN_LORA, rounds)
        except (FleetError, OSError) as error:
            self._plane.record.note("not-learnt", "", error=str(error))
            return
        self._plane.record.note("learning", "", rounds=rounds)
        self._plane._change()

    def play(self) -> bool:
        """Play an attempt of each job that can begin one, and end those whose run has died."""
        for job in self._plane.read(lambda unit: unit.tx.learning.list_open()):
            if job.state is JobState.RUNNING:
                with self._plane.stepped.transaction() as unit:
                    unit.rounds.fail_attempt(unit.tx.learning.get(job.job_id), "the run has died")
                self._plane.stepped.destroy_orphaned_keys()
        return bool(self._player.play())

    def _round_done(self, job: LearningJobRow, number: int, metrics: Mapping[str, float], nodes: int) -> None:
        self._plane.record.note("round", "", job=job.job_id, kind=job.kind.value, round=number, nodes=nodes)
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after <= 0:
                self.dies_after = None
                raise Dies(RUN, Side.AFTER, number)
