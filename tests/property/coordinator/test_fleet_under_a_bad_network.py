"""Whatever a network, a kill or a backup does: a forget is carried out, and nothing is claimed too early."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from edge_node.testing import NodeBackup
from fleet.coordinator.testing import FEATURES, SteppedCoordinator
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS, TERMINAL, ExecutionState
from fleet.domain.node import may_return
from fleet.store.database import wall_clock_ms
from tests.device import Device

NODES = st.sampled_from(range(3))
PEOPLE = [f"{number:032x}" for number in range(1, 9)]
PERSON = st.sampled_from(PEOPLE)


def codes_of(tag: str) -> npt.NDArray[np.int32]:
    return np.random.default_rng(int(tag, 16)).integers(-3000, 3000, (3, FEATURES)).astype(np.int32)


@cache
def settled_fleet() -> tuple[Path, tuple[Device, ...]]:
    """Return the state folder of a fleet in which three nodes know four people, and the nodes."""
    root = Path(tempfile.mkdtemp(prefix="bad-network-"))
    atexit.register(shutil.rmtree, root)
    coordinator = SteppedCoordinator(root / "coordinator")
    nodes = tuple(Device(f"node-{number}") for number in range(3))
    for number, node in enumerate(nodes):
        coordinator.enroll(node)
        node.capture(PEOPLE[number], codes_of(PEOPLE[number]))
        public = np.random.default_rng(100 + number).integers(-3000, 3000, (12, FEATURES))
        node.show_public(public, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    nodes[0].capture(PEOPLE[3], codes_of(PEOPLE[3]))
    coordinator.converse(*nodes)
    assert all(node.head.subject_tags == PEOPLE[:4] for node in nodes)
    coordinator.close()
    return root / "coordinator", nodes


@dataclass
class Stream:
    """Messages under way on a node's stream, in order. It breaks as a whole, and loses what it carries."""

    up: deque[wire.ConnectRequest] = field(default_factory=deque)
    down: deque[wire.ConnectResponse] = field(default_factory=deque)


class FleetUnderABadNetwork(RuleBasedStateMachine):
    """Real handlers over a real store; the nodes are honest, so none of them may ever be held."""

    @initialize()
    def start(self) -> None:
        folder, nodes = settled_fleet()
        self.root = Path(tempfile.mkdtemp(prefix="bad-network-"))
        shutil.copytree(folder, self.root / "coordinator")
        self.ahead_ms = 0
        self.coordinator = self.open_coordinator()
        self.nodes = [node.twin() for node in nodes]
        self.streams: dict[int, Stream] = {}
        self.delivered: dict[int, list[wire.ConnectRequest]] = {number: [] for number in range(3)}
        self.backups: dict[int, list[NodeBackup]] = {number: [] for number in range(3)}
        #: What was acknowledged to operators: request id to tags, campaign and generation.
        self.acknowledged: dict[str, tuple[tuple[str, ...], str, int]] = {}
        self.desired_revision = 0

    def open_coordinator(self) -> SteppedCoordinator:
        return SteppedCoordinator(self.root / "coordinator", now_ms=lambda: wall_clock_ms() + self.ahead_ms)

    def teardown(self) -> None:
        if not hasattr(self, "coordinator"):
            return
        try:
            self.heal()
        finally:
            self.coordinator.close()
            shutil.rmtree(self.root)

    # What happens

    @rule(number=NODES)
    def a_node_connects_and_ends_its_older_stream(self, number: int) -> None:
        node = self.nodes[number]
        nonce = os.urandom(32)
        hello, *rest = node.receive(wire.ConnectResponse(challenge=wire.Challenge(nonce=nonce)))
        self.coordinator.welcome(hello, nonce)
        self.streams[number] = Stream(up=deque(rest))

    @rule(number=NODES)
    def a_stream_breaks(self, number: int) -> None:
        if self.streams.pop(number, None) is not None:
            self.coordinator.disconnect(self.nodes[number].node_id)

    def stream_of(self, number: int) -> Stream:
        if number not in self.streams:
            self.a_node_connects_and_ends_its_older_stream(number)
        return self.streams[number]

    @rule(number=NODES)
    def a_session_looks_what_its_node_needs(self, number: int) -> None:
        stream = self.stream_of(number)
        messages = self.coordinator.outbox(self.nodes[number].node_id)
        for message in messages:
            self.check_offer(self.nodes[number], message)
        stream.down.extend(messages)

    @rule(number=NODES, count=st.integers(1, 6), twice=st.booleans())
    def the_coordinator_hears(self, number: int, count: int, twice: bool) -> None:
        stream = self.stream_of(number)
        for _ in range(min(count, len(stream.up))):
            message = stream.up.popleft()
            self.delivered[number].append(message)
            for _ in range(1 + twice):
                stream.down.extend(self.coordinator.take(self.nodes[number].node_id, message).replies)

    @rule(number=NODES, count=st.integers(1, 6), twice=st.booleans())
    def a_node_hears(self, number: int, count: int, twice: bool) -> None:
        stream = self.stream_of(number)
        for _ in range(min(count, len(stream.down))):
            message = stream.down.popleft()
            for _ in range(1 + twice):
                stream.up.extend(self.nodes[number].receive(message))

    @rule(number=NODES, back=st.integers(1, 12))
    def the_coordinator_hears_something_again_much_later(self, number: int, back: int) -> None:
        stream = self.stream_of(number)
        for message in self.delivered[number][-back:][:1]:
            stream.down.extend(self.coordinator.take(self.nodes[number].node_id, message).replies)

    @rule(number=NODES)
    def a_node_sends_a_heartbeat(self, number: int) -> None:
        self.stream_of(number).up.extend(self.nodes[number].heartbeat())

    @rule()
    def the_reconciler_looks(self) -> None:
        self.coordinator.step()

    @rule(reconciled=st.booleans())
    def time_passes_in_which_a_node_that_is_away_is_lost(self, reconciled: bool) -> None:
        self.ahead_ms += round(1000 * self.coordinator.coordinator.env.settings.lost_after_s) + 1
        if reconciled:
            self.the_reconciler_looks()

    @rule(number=NODES, turns=st.integers(1, 4), then_deaf=st.booleans())
    def one_node_and_the_coordinator_talk(self, number: int, turns: int, then_deaf: bool) -> None:
        for _ in range(turns):
            self.a_session_looks_what_its_node_needs(number)
            self.a_node_hears(number, 100, twice=False)
            self.the_coordinator_hears(number, 100, twice=False)
            self.the_reconciler_looks()
        if then_deaf:
            # Acted upon by the coordinator, never heard of by the node.
            self.a_stream_breaks(number)

    @rule(turns=st.integers(1, 4), interrupted_by=st.none() | st.sets(PERSON, min_size=1, max_size=1))
    def all_talk(self, turns: int, interrupted_by: set[str] | None) -> None:
        for _ in range(turns):
            for number in range(3):
                self.one_node_and_the_coordinator_talk(number, 1, then_deaf=False)
        if interrupted_by:
            self.somebody_is_forgotten(interrupted_by, killed=False)

    @rule()
    def everything_is_well_for_a_while(self) -> None:
        for number in range(3):
            self.one_node_and_the_coordinator_talk(number, 1, then_deaf=False)
        self.coordinator.converse(*self.nodes)
        self.streams = {number: Stream() for number in range(3)}
        for number in range(3):
            self.backups[number].append(self.nodes[number].backup())

    @rule(number=NODES, tag=PERSON)
    def somebody_is_enrolled(self, number: int, tag: str) -> None:
        node = self.nodes[number]
        if tag not in node.journal.tombstones() and tag not in node.enrolled:
            node.capture(tag, codes_of(tag))

    @rule(tags=st.sets(PERSON, min_size=1, max_size=2), killed=st.booleans())
    def somebody_is_forgotten(self, tags: set[str], killed: bool) -> None:
        for number in range(3):
            self.backups[number].append(self.nodes[number].backup())
        request_id = f"forget {sorted(tags)}"
        with self.coordinator.transaction() as unit:
            campaign, created = unit.campaigns.create(request_id, sorted(tags), allow_unknown=True)
        assert created or request_id in self.acknowledged or tags <= self.forgotten()
        answer = (tuple(sorted(tags)), campaign.campaign_id, campaign.generation)
        first = self.acknowledged.setdefault(request_id, answer)
        if created:
            assert first == answer
        if killed:
            # After the commit, before the keys are destroyed.
            self.the_coordinator_is_killed_and_started_again()
        else:
            self.coordinator.destroy_orphaned_keys()

    @rule()
    def the_coordinator_is_killed_and_started_again(self) -> None:
        self.coordinator.close()
        self.streams.clear()
        self.coordinator = self.open_coordinator()

    @rule(number=NODES)
    def a_node_is_killed_and_started_again(self, number: int) -> None:
        self.a_stream_breaks(number)
        self.nodes[number].restore(self.nodes[number].backup())

    @rule(number=NODES)
    def a_node_is_backed_up(self, number: int) -> None:
        self.backups[number].append(self.nodes[number].backup())

    @rule(number=NODES, back=st.integers(1, 4))
    def a_node_is_restored_from_a_backup(self, number: int, back: int) -> None:
        for backup in self.backups[number][-back:][:1]:
            self.a_stream_breaks(number)
            self.nodes[number].restore(backup)
            # What it said before is not said any more: its next hello ends every stream of before.
            self.delivered[number].clear()
            self.a_node_connects_and_ends_its_older_stream(number)

    # What must hold

    def forgotten(self, through: int | None = None) -> set[str]:
        with self.coordinator.transaction() as unit:
            return {
                subject.tag
                for subject in unit.tx.subjects.list(forgotten=True)
                if through is None or subject.forgotten_generation <= through
            }

    def check_offer(self, node: Device, message: wire.ConnectResponse) -> None:
        """No revision is offered that is older than the log, or holds anything of somebody forgotten."""
        if message.WhichOneof("message") != "revision":
            return
        manifest = types.RevisionManifest.FromString(message.revision.manifest.payload)
        purpose = sealing.revision_purpose(node.fleet_id, manifest.revision, node.node_id)
        opened = sealing.open_sealed(node.keys.sealing, purpose, message.revision.content)
        content = types.RevisionContent.FromString(opened)
        held = {subject.subject_tag for subject in content.subjects}
        assert held == set(manifest.subject_tags)
        assert not held & self.forgotten()
        with self.coordinator.transaction() as unit:
            assert manifest.built_at_generation == unit.tx.fleet.get().generation

    @invariant()
    def the_log_is_dense_and_chained_and_has_every_forget_that_was_acknowledged(self) -> None:
        with self.coordinator.transaction() as unit:
            head, commands = ZERO_HASH, {}
            for expected, entry in enumerate(unit.tx.log.range(0), start=1):
                envelope = types.Envelope.FromString(entry.envelope)
                command = types.ForgetCommand.FromString(envelope.payload)
                assert (command.generation, command.previous_hash) == (expected, head)
                head, commands[expected] = signing.payload_hash(envelope), command
            fleet = unit.tx.fleet.get()
            assert (fleet.generation, fleet.log_head) == (len(commands), head)
        for tags, campaign_id, generation in self.acknowledged.values():
            assert generation in commands
            assert set(tags) <= self.forgotten()
            assert commands[generation].campaign_id == campaign_id

    @invariant()
    def revisions_only_grow(self) -> None:
        with self.coordinator.transaction() as unit:
            numbers = [row.revision for row in unit.tx.revisions.list()]
            desired = unit.tx.fleet.get().desired_revision
        assert numbers == list(range(1, len(numbers) + 1))
        assert desired == numbers[-1] >= self.desired_revision
        self.desired_revision = desired

    @invariant()
    def verified_rests_on_a_receipt_of_the_node_that_names_nobody_forgotten(self) -> None:
        with self.coordinator.transaction() as unit:
            for campaign in unit.tx.forgets.list():
                executions = unit.tx.forgets.executions(campaign.campaign_id)
                finished = all(execution.state in TERMINAL for execution in executions)
                assert finished or campaign.state is not CampaignState.CONVERGED
                for execution in executions:
                    if execution.state not in SUCCESS:
                        continue
                    key = unit.tx.nodes.get(execution.node_id).receipt_public_key
                    envelope = types.Envelope.FromString(execution.receipt)
                    receipt = signing.open_envelope(envelope, types.Receipt, key)
                    assert (receipt.node_id, receipt.generation) == (execution.node_id, campaign.generation)
                    assert receipt.challenge_nonce == execution.challenge_nonce
                    answers = [result.subject_tag for result in receipt.probe_results]
                    assert answers == list(execution.expected_probes)
                    named = {entry.subject_tag for entry in receipt.active_adapters}
                    assert not named & self.tombstones(unit, campaign.generation)

    @staticmethod
    def tombstones(unit, through: int) -> set[str]:
        return {s.tag for s in unit.tx.subjects.list(forgotten=True) if s.forgotten_generation <= through}

    @invariant()
    def no_honest_node_is_held(self) -> None:
        with self.coordinator.transaction() as unit:
            assert {node.node_id: node.held_reason for node in unit.tx.nodes.list()} == {
                node.node_id: "" for node in self.nodes
            }

    @invariant()
    def node_that_serves_has_nobody_who_was_forgotten_when_its_lease_was_written(self) -> None:
        for node in self.nodes:
            if node.serving:
                assert not node.active().keys() & self.forgotten(through=node.lease.generation)

    def take_up_whoever_came_back_too_often(self) -> None:
        with self.coordinator.transaction() as unit:
            for node in self.nodes:
                for lost in unit.tx.forgets.executions_of(node.node_id, states={ExecutionState.LOST}):
                    assert not may_return(lost.returns)
                    unit.decisions.retry(node.node_id, lost.campaign_id, "it is back")

    def heal(self) -> None:
        """Once the network is whole again, everything that was ever forgotten is, everywhere."""
        for number in range(3):
            self.a_node_connects_and_ends_its_older_stream(number)
            # What followed the hello is part of the stream.
            self.one_node_and_the_coordinator_talk(number, 1, then_deaf=False)
        self.coordinator.converse(*self.nodes)
        self.take_up_whoever_came_back_too_often()
        self.coordinator.converse(*self.nodes)
        assert not self.coordinator.step()
        with self.coordinator.transaction() as unit:
            assert {campaign.state for campaign in unit.tx.forgets.list()} <= {CampaignState.CONVERGED}
            executions = [e for c in unit.tx.forgets.list() for e in unit.tx.forgets.executions(c.campaign_id)]
            assert {execution.state for execution in executions} <= SUCCESS
            people = {subject.tag for subject in unit.tx.subjects.list()}
            keys = {f"revision-{unit.tx.revisions.latest().revision}"}
            keys |= {f"subject-{subject.tag}" for subject in unit.tx.subjects.list() if not subject.canary}
        forgotten = self.forgotten()
        assert set(self.coordinator.coordinator.env.secrets.ids()) == keys
        for node in self.nodes:
            assert set(node.active()) == people
            assert not node.enrolled & forgotten
            assert node.serving
        self.no_honest_node_is_held()
        self.verified_rests_on_a_receipt_of_the_node_that_names_nobody_forgotten()


TestFleetUnderABadNetwork = FleetUnderABadNetwork.TestCase
# Not shrunk: keys, nonces and canaries are random, so that a failure may not come back in a smaller example.
TestFleetUnderABadNetwork.settings = settings(max_examples=12, stateful_step_count=40, phases=[Phase.generate])
