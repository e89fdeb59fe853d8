"""Learning in a history: jobs of the coordinator over engines that learn next to nothing, and runs that die."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import SCALE_BITS

from edge_node.agent.node import Node
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from edge_node.testing import MemoryEngine
from fleet.coordinator.unit import UnitOfWork
from fleet.domain.cohort import AuditState
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
    """Engine whose rows depend on everything that a round learns from, and that measures what a judge accepts.

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
        """Return each state after a round of training, or with a quarter in all weights after one of a repair."""
        for request in requests:
            self._trained(frozenset(request.samples))
        results = super().run_rounds(requests)
        for request, result in zip(requests, results, strict=True):
            if request.ticket.kind == types.LEARNING_KIND_TRAIN_LORA:
                result.state.CopyFrom(_trained(request))
            else:
                state = result.state
                state.rows = np.full(len(state.subject_tags) * state.rank, 2 ** (SCALE_BITS - 2), "<i2").tobytes()
        return [RoundResult(each.state, max(1, each.num_examples), GOOD_REPAIR) for each in results]


def _trained(request: RoundRequest) -> types.LoraState:
    """Return a state whose rows of who is there are drawn by what they were and by the samples of everybody there."""
    before = StateArrays.decode(request.state)
    samples = b"".join(tag.encode() + request.samples[tag].numpy().tobytes() for tag in sorted(request.samples))
    rows, here = np.zeros_like(before.rows), np.array([tag in request.samples for tag in before.tags], np.uint8)
    for place in here.nonzero()[0]:
        seen = hashlib.sha256(before.rows[place].tobytes() + before.tags[place].encode() + samples).digest()
        draw = np.random.default_rng(int.from_bytes(seen, "big"))
        rows[place] = draw.integers(-(2**SCALE_BITS), 2**SCALE_BITS, rows.shape[1])
    return replace(before, rows=rows, row_weights=here).encode()


def _ask_for_audit(shard: int, unit: UnitOfWork) -> None:
    unit.cohort_jobs.start_audit(shard)


class FaultyJobs:
    """Learning jobs of a fleet, played when there is one: what plays them is loaded then."""

    def __init__(self, plane: FaultyPlane, nodes: Callable[[], Mapping[int, Node]], seed: int) -> None:
        self._plane, self._nodes = plane, nodes
        self._player: Any = None
        #: The next run dies after so many rounds.
        self.dies_after: int | None = None
        self._randomness = seeded(keyed_seed(seed, "faults.jobs"))

    def start(self, rounds: int, shards: int) -> None:
        """Ask for a LoRA, of so many cohort shards or a shared one; who asks while that cannot be done asks no more."""
        self._load()

        def ask(unit: UnitOfWork) -> None:
            request_id = new_tag(self._randomness.draw)
            if shards:
                unit.jobs.start_cohorts(request_id, rounds, shards)
            else:
                unit.jobs.start(request_id, JobKind.TRAIN_LORA, rounds)

        self._asked(ask, "learning", rounds=rounds, shards=shards)

    def audit(self) -> list[str]:
        """Ask for an audit of every cohort shard that had none; returns what is open of that."""
        missing = []
        for row in self._plane.read(lambda unit: unit.tx.cohorts.list()):
            shard = row.history.shard
            if row.history.entries and row.audit.get("state") in (None, AuditState.RUNNING):
                missing.append(f"shard {shard} is audited")
                if not row.audit:
                    self._asked(partial(_ask_for_audit, shard), "audit", shard=shard)
        return missing

    def _load(self) -> None:
        if self._player is None:
            from fleet.sim.jobs import ConnectedNodes, JobPlayer

            self._player = JobPlayer(self._plane, self._nodes, 64, self._round_done)
            self._plane.learning = self._plane.env.learning = ConnectedNodes()
            self._plane.play = self.play

    def _asked(self, ask: Callable[[UnitOfWork], Any], kind: str, **what: Any) -> None:
        if not self._plane.runs:
            return
        try:
            with self._plane.stepped.transaction() as unit:
                ask(unit)
        except (FleetError, OSError) as error:
            self._plane.record.note("not-learnt", "", error=str(error))
            return
        self._plane.record.note(kind, "", **what)
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
