"""Cohort LoRA in shards: what sharding costs in accuracy, and what a forget by replay costs and proves.

Accuracy: everybody enters before the first round, in four shards and in one, with the same recipe. Forgets: people
enter over the rounds, nodes miss rounds, and several people are forgotten one after the other; each time the cohort is
compared, integer for integer, with one that is trained from the start without them, and the last forget is audited from
its manifest.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.crypto.key_store import FileKeyStore

from fleet.lab.fleets.two_layer_fleet import TwoLayerFleet, shard_plans, work_cost
from fleet.lab.replay.audit import ReplayVerdict, audit_replay
from fleet.lab.replay.codes import AuditCodes
from fleet.lab.replay.cohort import CohortPlan, WorkDone, train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe
from fleet.lab.replay.forgetting import CheckpointFiles, ReplayResult, cost_share, forget_by_replay
from fleet.lab.replay.manifest import ReplayManifest
from hwmodel import keyed_seed
from tests.bench.workloads.face_fleet import face_fleet
from tests.bench.workloads.federated_faces import WIDE
from tests.bench.workloads.identification import Rates, rates_of

SEEDS = (200, 201, 202, 203, 204)
SHARDS = 4
FORGETS = 10


@dataclass(frozen=True)
class ForgetCost:
    """One forget by replay; shares are of training all shards, CPU and energy of all nodes together."""

    shard: int
    #: State and remaining checkpoints equal those of a cohort that never knew the person, other shards are as they
    #: were, and the checkpoints that knew the person do not open.
    bitwise: bool
    #: Node steps, by the plan and as counted.
    share_by_theory: float
    share_computed: float
    share_of_cpu: float
    share_of_energy: float
    cpu_s: float
    energy_j: float


@dataclass(frozen=True)
class CohortRun:
    """One split with its chips."""

    one_shard: Rates
    four_shards: Rates
    forgets: tuple[ForgetCost, ...]
    #: Of the people who stay, before the first and after the last forget.
    retained_before: Rates
    retained_after: Rates
    #: On the last forget.
    audit: ReplayVerdict


def run(seed: int) -> CohortRun:
    """Measure cohorts on the faces of one seed."""
    fleet = TwoLayerFleet.of(seed, face_fleet(seed), WIDE)
    recipe = LoraRecipe(a_seed=seed)
    starts = RidgeStarts(fleet.nodes, recipe.gain)
    one, four = (
        [train_cohort(plan, fleet.nodes, starts) for plan in shard_plans(fleet, seed, recipe, shards)]
        for shards in (1, SHARDS)
    )
    with tempfile.TemporaryDirectory() as folder:
        history = _History(fleet, seed, recipe, Path(folder))
        before = history.rates(fleet)
        return CohortRun(
            one_shard=rates_of(fleet, recipe, one),
            four_shards=rates_of(fleet, recipe, four),
            forgets=tuple(history.forget(tag) for tag in history.leaving),
            retained_before=before,
            retained_after=history.rates(fleet),
            audit=history.audit_of_the_last(),
        )


class _History:
    """A fleet in four shards with its checkpoints, from which people leave one after the other."""

    def __init__(self, fleet: TwoLayerFleet, seed: int, recipe: LoraRecipe, folder: Path) -> None:
        self._nodes, self._recipe, self._folder = fleet.nodes, recipe, folder
        self._checkpoints = CheckpointFiles(folder / "checkpoints", FileKeyStore(folder / "keys"), "fleet")
        self._plans = shard_plans(fleet, seed, recipe, SHARDS, staggered=True)
        started = time.process_time()
        self._full = [WorkDone() for _ in self._plans]
        self._states = [self._trained(plan, work) for plan, work in zip(self._plans, self._full, strict=True)]
        self._full_cpu_s = time.process_time() - started
        self._last: tuple[ReplayResult, str, CohortState, list[CohortPlan]] | None = None
        order = sorted(fleet.tags, key=lambda tag: keyed_seed(seed, "cohort.leaving", tag))
        self.leaving = tuple(order[:FORGETS])

    def rates(self, fleet: TwoLayerFleet) -> Rates:
        """Return the rates of the people who stay to the end, among everybody who is in a cohort now."""
        return rates_of(fleet, self._recipe, self._states, among=set(fleet.tags) - set(self.leaving))

    def forget(self, tag: str) -> ForgetCost:
        """Forget a person, compare with the cohort that never knew them, and return what it took."""
        shard = next(n for n, plan in enumerate(self._plans) if tag in plan.entries)
        plan, plans, known = self._plans[shard], list(self._plans), self._states[shard]
        others = [state.digest() for n, state in enumerate(self._states) if n != shard]
        full_energy_j = sum(work_cost(p, w, self._nodes[0]).energy_j for p, w in zip(plans, self._full, strict=True))
        result = forget_by_replay(plan, self._nodes, self._starts(), self._checkpoints, tag)
        self._nodes = tuple(node.without(tag) for node in self._nodes)
        self._plans[shard], self._states[shard] = result.plan, result.state
        self._last = result, tag, known, plans
        energy_j = work_cost(result.plan, result.work, self._nodes[0]).energy_j
        untouched = others == [state.digest() for n, state in enumerate(self._states) if n != shard]
        return ForgetCost(
            shard=shard,
            bitwise=self._never_known(result) and untouched,
            share_by_theory=cost_share(plan, tag, plans),
            share_computed=result.work.node_steps / sum(work.node_steps for work in self._full),
            share_of_cpu=result.cpu_s / self._full_cpu_s,
            share_of_energy=energy_j / full_energy_j,
            cpu_s=result.cpu_s,
            energy_j=energy_j,
        )

    def audit_of_the_last(self) -> ReplayVerdict:
        """Write manifest and codes of the last forget, and have them audited."""
        assert self._last is not None
        result, tag, before, plans = self._last
        codes = AuditCodes.of(self._nodes, result.plan.entries)
        codes.write(self._folder / "codes")
        manifest = self._folder / "manifest.json"
        manifest.write_bytes(ReplayManifest.of(result, tag, before, codes, plans).to_bytes())
        return audit_replay(manifest, self._folder / "codes").verdict

    def _starts(self) -> RidgeStarts:
        return RidgeStarts(self._nodes, self._recipe.gain)

    def _never_known(self, result: ReplayResult) -> bool:
        """Train the shard from nothing on codes without the person; compare state and every checkpoint."""
        fresh: dict[int, str] = {}

        def keep(number: int, state: CohortState) -> None:
            fresh[number] = state.digest()

        never = train_cohort(result.plan, self._nodes, self._starts(), on_checkpoint=keep)
        shard = result.plan.shard
        kept = {n: self._checkpoints.load(shard, n).digest() for n in self._checkpoints.rounds(shard)}
        return never.digest() == result.state.digest() and kept == fresh

    def _trained(self, plan: CohortPlan, work: WorkDone) -> CohortState:
        def keep(number: int, state: CohortState) -> None:
            self._checkpoints.save(plan.shard, number, state)

        return train_cohort(plan, self._nodes, self._starts(), on_checkpoint=keep, work=work)
