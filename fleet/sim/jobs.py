"""Learning jobs of a simulated fleet: the coordinator's own, by Flower's strategy, on connected nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reram_fleet.crypto.identifiers import new_tag

from edge_node.agent.node import Node
from fleet.domain.learning import JobKind, JobState
from fleet.errors import FleetError
from fleet.learning.errors import LearningPlaneError
from fleet.sim.control_plane import ControlPlane
from fleet.sim.grid.product import UnitAttempt, play_attempt
from fleet.store.rows import LearningJobRow

if TYPE_CHECKING:
    from fleet.sim.chip_actors import ChipActors

logger = logging.getLogger(__name__)

#: Called after each round with its job, number, metrics and nodes.
RoundDone = Callable[[LearningJobRow, int, Mapping[str, float], int], None]


class ConnectedNodes:
    """Learning plane as the coordinator sees it: who is connected can be reached."""

    def is_gone(self, flower_public_key: str) -> bool:
        """Whether a node certainly takes no messages now."""
        return False


@dataclass
class _Attempt(UnitAttempt):
    job: LearningJobRow
    done: RoundDone

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        """Hand over the state after a round, and note what came of it."""
        super().report_round(round_number, sealed_state, metrics, node_ids)
        self.done(self.job, round_number, metrics, len(node_ids))


class JobPlayer:
    """Player of a coordinator's learning jobs; an attempt takes no virtual time.

    Parameters
    ----------
    nodes
        Returns the nodes that are up, by Flower's ids.
    chunk
        Nodes that run a round as one batch.

    Attributes
    ----------
    actors
        Who computes rounds, if it is not done here.
    """

    def __init__(
        self, plane: ControlPlane, nodes: Callable[[], Mapping[int, Node]], chunk: int, done: RoundDone
    ) -> None:
        self._plane, self._nodes, self._chunk, self._done = plane, nodes, chunk, done
        self.actors: ChipActors | None = None

    def start(self, rounds: int, shards: int) -> None:
        """Ask for a shared LoRA of so many rounds, or for so many cohort shards.

        `FleetError` if the coordinator refuses.
        """
        request_id = new_tag(self._plane.randomness.draw)
        with self._plane.stepped.transaction() as unit:
            if shards:
                unit.jobs.start_cohorts(request_id, rounds, shards)
            else:
                unit.jobs.start(request_id, JobKind.TRAIN_LORA, rounds)

    def play(self) -> bool:
        """Play an attempt of each job that can begin one; returns whether there is a job that is not over."""
        there = self._open()
        for job in there:
            if job.state is JobState.QUEUED:
                self._play(job)
        return bool(there and self._open())

    def _open(self) -> Sequence[LearningJobRow]:
        found: Sequence[LearningJobRow] = self._plane.read(lambda unit: unit.tx.learning.list_open())
        return found

    def _play(self, job: LearningJobRow) -> None:
        stepped = self._plane.stepped
        with stepped.transaction() as unit:
            started = unit.rounds.begin(job)
        if started is None:
            return
        attempt = _Attempt(
            stepped.transaction, job.job_id, started.attempt, stepped.destroy_orphaned_keys, job, self._done
        )
        nodes, chunk, under_way = self._nodes(), self._chunk, 1
        if self.actors is not None:
            chunk, under_way = self.actors.chunk(len(nodes), chunk), self.actors.width
        try:
            with quiet(logging.getLogger("flwr")):
                play_attempt(attempt, nodes, chunk=chunk, under_way=under_way)
        except (FleetError, LearningPlaneError) as error:
            # The coordinator was told, and tries again.
            logger.info("learning job %s, attempt %d: %s", job.job_id, started.attempt, error)


@contextmanager
def quiet(spoken: logging.Logger) -> Iterator[None]:
    """Let a logger tell nothing but errors on the terminal: Flower, for instance, each round; the tables have them."""
    level = spoken.level
    spoken.setLevel(logging.ERROR)
    try:
        yield
    finally:
        spoken.setLevel(level)
