"""A small fleet whose processes die at durable steps, and go on from what was durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from reram_fleet.crypto.randomness import Randomness
from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric, state_purpose
from reram_fleet.crypto.testing import seeded
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import learning_pb2, operator_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.testing import FakeClock
from fleet.coordinator.at_rest import drop_keyless, owned_key_ids
from fleet.coordinator.learning_service import LearningService
from fleet.coordinator.operator_service import OperatorService
from fleet.coordinator.reconcile import LearningReconciler
from fleet.coordinator.testing import REGISTRY_KEY, SteppedCoordinator
from fleet.domain.learning import JobState
from fleet.sim.faults.learning import GOOD_REPAIR
from fleet.store.database import Store
from fleet.trust.audit import verify_certificate
from fleet.trust.checks import failures
from tests.unit.coordinator.small_fleet import captured, fill
from tests.unit.kills.calls import CallContext, NoFlower, RefusedCallError
from tests.unit.kills.kills import COORDINATOR, Killed, Kills
from tests.unit.kills.mortal_node import Heard, MortalDevice

T = TypeVar("T")

#: A process that dies at every start is broken.
MOST_DEATHS = 200


class FleetThatDies:
    """The fleet: every operator's call and every message is tried again until it is acknowledged."""

    def __init__(self, folder: Path, kills: Kills, database: str | None = None) -> None:
        self._folder, self._database, self.kills = folder, database, kills
        self.clock, self.heard = FakeClock(), Heard()
        self._randomness: Randomness = seeded(1)
        self._secrets = kills.keys(COORDINATOR)
        self.nodes: dict[str, MortalDevice] = {}
        self.online: set[str] = set()
        #: Acknowledged to operators.
        self.forgotten: dict[str, operator_pb2.Forget] = {}
        self.enrolled: set[tuple[str, str]] = set()
        self.coordinator: SteppedCoordinator | None = None
        self._store: Store | None = None
        self.flower = NoFlower()
        self.alive(lambda: None)

    # Life and death

    def alive(self, work: Callable[[], T]) -> T:
        """Return what some work comes to, begun again after each death."""
        for _ in range(MOST_DEATHS):
            try:
                if self.coordinator is None:
                    self._start_coordinator()
                return work()
            except Killed as death:
                self._bury(death.who)
        raise AssertionError(f"killed {MOST_DEATHS} times within one act: {self.kills.killed[-5:]}")

    def _start_coordinator(self) -> None:
        coordinator = SteppedCoordinator(
            self._folder,
            now_ms=self.clock.unix_ms,
            database=self._database,
            secrets=self._secrets,
            randomness=self._randomness,
            open_store=self._open_store,
        )
        self.coordinator = coordinator
        running = coordinator.coordinator
        # What embeds Flower is opened with `--no-flower` left out; this one is made by the test.
        running.learning = running.env.learning = self.flower = NoFlower()  # type: ignore[assignment]
        self._operator, self._learning = OperatorService(running), LearningService(running)
        self._learners = LearningReconciler(running, self.flower)  # type: ignore[arg-type]
        with coordinator.transaction() as unit:
            # A later backup may yet bring back who was enrolled since the one that was restored.
            if not unit.tx.fleet.awaited():
                assert self._secrets.ids() <= owned_key_ids(unit.tx), "a key has outlived its owner over a restart"

    def _open_store(self, url: str, now_ms: Callable[[], int]) -> Store:
        self._store = self.kills.store(url, now_ms)
        return self._store

    def _bury(self, who: str) -> None:
        if who == COORDINATOR:
            if self._store is not None:
                self._store.close()
            self.coordinator = self._store = None
        else:
            self.alive(self.nodes[who].rise)
        if self.coordinator is not None:
            # Who talked to the dead hears of it; the others connect anew as well, since what they said is lost.
            for node_id in list(self.coordinator.sessions):
                self.coordinator.disconnect(node_id)

    def close(self) -> None:
        """Let go of the database."""
        if self._store is not None:
            self._store.close()

    def restart(self) -> None:
        """End the coordinator, and start it again."""
        self._bury(COORDINATOR)
        self.alive(lambda: None)

    def backup(self) -> Store:
        """Return a copy of the coordinator's rows."""
        copy = Store.open("sqlite://", now_ms=self.clock.unix_ms)
        with self._store.snapshot() as rows, copy.transaction() as tx:
            tx.all_rows.replace(rows.all_rows)
        return copy

    def go_back(self, backup: Store) -> None:
        """Restore a backup, as `fleet admin restore` does with nothing but the keys of today; then serve again."""
        self.kills.asleep = True
        with backup.snapshot() as rows, self._store.transaction() as tx:
            tx.all_rows.replace(rows.all_rows)
            drop_keyless(tx, self._secrets.ids().__contains__)
            tx.fleet.note_restore()
        self.kills.asleep = False
        self.restart()

    # What operators, owners and applications do

    def call(self, method: str, request: Any) -> Any:
        """Return the answer to an operator's call."""
        return self.alive(lambda: self._call(self._operator, method, request))

    def decide(self, method: str, request: Any) -> None:
        """Make an operator's call that, made already, is refused the next time: the first answer may be lost."""
        deaths = len(self.kills.killed)
        try:
            self.call(method, request)
        except RefusedCallError:
            if len(self.kills.killed) == deaths:
                raise

    @staticmethod
    def _call(service: Any, method: str, request: Any) -> Any:
        return asyncio.run(getattr(service, method)(request, CallContext()))

    def add_node(self, node_id: str) -> MortalDevice:
        """Make a node, enrol it, and let it join."""
        node = MortalDevice(node_id, self.kills, self.heard, clock=self.clock, randomness=self._randomness)
        answer = self.call("EnrollNode", operator_pb2.EnrollNodeRequest(identity=node.identity))
        self.nodes[node_id] = node
        self.alive(lambda: node.join(answer))
        self.online.add(node_id)
        return node

    def enrol(self, tag: str, seed: int, *node_ids: str) -> None:
        """Let nodes capture a person."""
        for number, node_id in enumerate(node_ids):
            self.alive(lambda: self.nodes[node_id].capture(tag, captured(seed + 100 * number)))  # noqa: B023
            self.enrolled.add((node_id, tag))

    def enrol_again(self, tag: str, seed: int, node_id: str) -> None:
        """Let a node take the same samples with another ticket, before the coordinator has seen the first one."""
        ticket = issue_ticket(
            REGISTRY_KEY,
            fleet_id=self.nodes[node_id].fleet_id,
            subject_tag=tag,
            node_ids=[node_id],
            expires_at_unix_ms=2**61,
        )
        frames = list(captured(seed)[:, None].astype(np.float32))
        self.alive(lambda: self.nodes[node_id].node.enroll(ticket, frames))

    def settle(self) -> None:
        """Pass messages until nobody has any more."""
        self.alive(self._settle)

    def settle_until(self, holds: Callable[[], bool]) -> None:
        """Pass messages until something holds; time goes on meanwhile, since a restart gives nodes time to return."""
        for _ in range(20):
            self.settle()
            if holds():
                return
            self.clock.advance(61.0)
        raise AssertionError("it does not come to that")

    def _settle(self) -> None:
        self.coordinator.converse(*(self.nodes[node_id] for node_id in sorted(self.online)))
        asyncio.run(self.coordinator.coordinator.write_contacts())

    def unplug(self, node_id: str) -> None:
        """Take a node off the network."""
        self.online.discard(node_id)
        self.coordinator.disconnect(node_id)

    def forget(self, *tags: str) -> str:
        """Commit a forget, and return its campaign."""
        return self.alive(lambda: self._forget(*tags))

    def _forget(self, *tags: str) -> str:
        request = operator_pb2.CreateForgetRequest(request_id=f"forget-{'-'.join(tags)}", subject_tags=tags)
        forget = self._call(self._operator, "CreateForget", request).forget
        self.forgotten[forget.campaign_id] = forget
        return str(forget.campaign_id)

    def forget_after_a_failure(self, *tags: str) -> str:
        """Commit a forget whose first transaction is rolled back, as by a full disk; the process lives on."""

        def fail_and_forget() -> str:
            self.kills.asleep = True
            with suppress(OSError), self.coordinator.transaction() as unit:
                unit.campaigns.create("fails", tags, allow_unknown=False)
                raise OSError
            self.kills.asleep = False
            return self._forget(*tags)

        return self.alive(fail_and_forget)

    def get_forget(self, campaign_id: str) -> operator_pb2.Forget:
        """Return a forget as it is now."""
        return self.call("GetForget", operator_pb2.GetForgetRequest(campaign_id=campaign_id)).forget

    def states(self, campaign_id: str) -> dict[str, str]:
        """Return a forget's state on each node."""
        request = operator_pb2.ListExecutionsRequest(campaign_id=campaign_id)
        return {each.node_id: each.state for each in self.call("ListExecutions", request).executions}

    # Flower

    def flower_dies(self) -> None:
        """Let Flower begin a run, and start anew itself: the run is gone."""
        self.alive(lambda: asyncio.run(self._learners.look()))
        self.flower.incarnation += 1
        self.alive(lambda: asyncio.run(self._learners.look()))

    def run_jobs(self) -> None:
        """Do what Flower does for every open job, again when a run has died, until all have succeeded."""
        for _ in range(60):
            jobs = self.call("ListLearning", operator_pb2.ListLearningRequest()).jobs
            if all(job.state in (JobState.SUCCEEDED, JobState.FAILED) for job in jobs):
                return
            try:
                self.alive_once(self._look_and_run)
            except Killed as death:
                self._bury(death.who)
            self.settle()
            self.clock.advance(40.0)
        raise AssertionError("learning jobs without end")

    def alive_once(self, work: Callable[[], None]) -> None:
        """Do some work that is lost if somebody dies."""
        self.alive(lambda: None)
        work()

    def _look_and_run(self) -> None:
        asyncio.run(self._learners.look())
        jobs = self._call(self._operator, "ListLearning", operator_pb2.ListLearningRequest()).jobs
        for job in jobs:
            if job.state == JobState.RUNNING:
                self._run_attempt(job.job_id, job.attempt)

    def _run_attempt(self, job_id: str, attempt: int) -> None:
        of = {"job_id": job_id, "attempt": attempt}
        given = self._call(self._learning, "GetJob", learning_pb2.GetJobRequest(**of))
        purpose = state_purpose(job_id)
        state = types.LoraState.FromString(open_symmetric(given.job_key, purpose, given.sealed_state))
        fill(0.25)(state)
        for number in range(given.round_offset + 1, given.rounds + 1):
            begun = self._call(self._learning, "BeginRound", learning_pb2.BeginRoundRequest(**of, round=number))
            sealed = seal_symmetric(given.job_key, purpose, state.SerializeToString())
            for node in begun.nodes:
                self.nodes[node.node_id].node.run_round(node.ticket, sealed)
            report = learning_pb2.ReportRoundRequest(
                **of,
                round=number,
                sealed_state=sealed,
                metrics=GOOD_REPAIR,
                node_ids=[node.node_id for node in begun.nodes],
            )
            self._call(self._learning, "ReportRound", report)
        self._call(self._learning, "FinishJob", learning_pb2.FinishJobRequest(**of))

    # What must hold

    def check_converged(self, campaign_id: str) -> None:
        """Check that a forget has converged, and that its certificate says so to an auditor."""
        forget = self.get_forget(campaign_id)
        assert forget.state == "converged", (forget.state, self.states(campaign_id))
        text = self.coordinator.certificate(campaign_id)
        key = self.coordinator.coordinator.env.keys.command_public_key
        assert [str(line) for line in failures(verify_certificate(text, key))] == []

    def check(self) -> None:
        """Check that nothing acknowledged is lost, nothing was signed twice, and nobody forgotten is left."""
        with self.coordinator.transaction() as unit:
            known = {node.node_id for node in unit.tx.nodes.list(include_retired=True)}
            campaigns = {row.campaign_id: row for row in unit.tx.forgets.list()}
            entries = {entry.generation: types.Envelope.FromString(entry.envelope) for entry in unit.tx.log.range(0)}
            contributions = {(row.node_id, row.tag) for row in unit.tx.subjects.contributions()}
            verified = {
                (row.node_id, row.generation)
                for campaign in campaigns
                for row in unit.tx.forgets.executions(campaign)
                if row.receipt is not None
            }
            content, newest = unit.revisions.latest_content(), unit.tx.revisions.latest()
        gone = {tag for campaign in campaigns.values() for tag in campaign.tags}
        # Acknowledged.
        assert known >= set(self.nodes)
        for campaign_id, forget in self.forgotten.items():
            assert campaigns[campaign_id].generation == forget.generation
        assert contributions >= {(node, tag) for node, tag in self.heard.contributions if tag not in gone}
        assert verified >= self.heard.receipts
        for node_id, tag in self.enrolled:
            # Who is off the network may not have heard yet.
            if node_id in self.online or tag not in gone:
                assert (tag in self.nodes[node_id].enrolled) is (tag not in gone)
        # Signed once.
        assert all(len(payloads) == 1 for payloads in self.heard.entries.values()), "a generation was signed twice"
        assert all(len(digests) == 1 for digests in self.heard.revisions.values()), "a revision was signed twice"
        assert all(len(nonces) == 1 for nonces in self.heard.leases.values()), "a lease was numbered twice"
        assert {generation: {entry.payload} for generation, entry in entries.items()} | self.heard.entries == {
            generation: {entry.payload} for generation, entry in entries.items()
        }
        # Forgotten.
        self._check_nobody(gone, content)
        assert {key_id for key_id in self._secrets.ids() if key_id.removeprefix("subject-") in gone} == set()
        assert {key_id for key_id in self._secrets.ids() if key_id.startswith("revision-")} <= {newest.key_id}
        for node in (self.nodes[node_id] for node_id in sorted(self.online)):
            assert not gone & {each.subject_tag for each in node.node.context.engine.active_subjects(0)}
            assert not gone & node._subject_keys.ids()
            assert len(node._revision_keys.ids()) == 1

    @staticmethod
    def _check_nobody(gone: Collection[str], content: types.RevisionContent) -> None:
        assert not gone & {subject.subject_tag for subject in content.subjects}
        assert not gone & {row.subject_tag for row in content.shared_lora.rows}
        assert not gone & set(content.head.subject_tags)
