"""Whatever a network does: a node holds a prefix of the log, and serves under a live lease only."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reram_fleet.crypto import signing
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse

from edge_node.agent.node import Node
from edge_node.errors import LogRejectedError, ProtocolError
from edge_node.testing import FakeClock, FakeCoordinator, MemoryNode, log_range

TAGS = [f"{number:032x}" for number in range(1, 7)]
LEASE_S = 30.0


def sample(voice: int) -> np.ndarray:
    return np.eye(8, dtype=np.float32)[voice][None] * 1000


class GenerationProtocol(RuleBasedStateMachine):
    """A model beside the node: what it was told, and until when it may serve which generation."""

    @initialize()
    def start(self) -> None:
        self.coordinator, self.clock = FakeCoordinator(), FakeClock()
        self.memory = MemoryNode("node-1", clock=self.clock)
        self.memory.join(self.coordinator.enrollment("127.0.0.1:1"))
        self.generation = 0
        # Open requests by nonce, with the time at which they were sent; leases under way; the present lease.
        self.requests: dict[bytes, float] = {}
        self.leases: list[tuple[ConnectResponse, bytes, int]] = []
        self.present: tuple[float, int] | None = None
        self.old_ranges: list[ConnectResponse] = []
        for voice, tag in enumerate(TAGS):
            self.node.enroll(self.coordinator.consent(tag), [sample(voice)])

    @property
    def node(self) -> Node:
        return self.memory.node

    def forgotten(self, generation: int) -> set[str]:
        tags: set[str] = set()
        for envelope in self.coordinator.log[:generation]:
            tags |= set(types.ForgetCommand.FromString(envelope.payload).subject_tags)
        return tags

    @rule(tag=st.sampled_from(TAGS))
    def commit_a_forget(self, tag: str) -> None:
        self.coordinator.forget(tag)

    @rule(start=st.integers(0, 8), length=st.integers(0, 8))
    def deliver_some_range(self, start: int, length: int) -> None:
        entries = self.coordinator.log[start : start + length]
        message = log_range(entries)
        self.old_ranges.append(message)
        if entries and start > self.generation:
            self.rejected(message)
            return
        (suppressed, *_) = self.node.receive(message)
        if entries:
            self.generation = max(self.generation, start + len(entries))
        assert suppressed.suppressed.generation == self.generation

    @precondition(lambda self: self.old_ranges)
    @rule(data=st.data())
    def deliver_an_old_range_again(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.old_ranges))
        numbers = [types.ForgetCommand.FromString(e.payload).generation for e in message.forget_log.entries]
        if numbers and numbers[0] > self.generation + 1:
            self.rejected(message)
            return
        self.node.receive(message)
        self.generation = max([self.generation, *numbers])

    @rule(order=st.permutations(range(4)))
    def deliver_reordered(self, order: list[int]) -> None:
        new = self.coordinator.log[self.generation : self.generation + 4]
        picked = [new[k] for k in order if k < len(new)]
        if picked == new:
            self.node.receive(log_range(picked))
            self.generation += len(new)
        else:
            self.rejected(log_range(picked))

    @rule(how=st.sampled_from(["key", "fleet", "bit", "type", "fork"]), tag=st.sampled_from(TAGS), at=st.integers(0, 7))
    def deliver_a_forged_entry(self, how: str, tag: str, at: int) -> None:
        head = signing.payload_hash(self.coordinator.log[self.generation - 1]) if self.generation else bytes(32)
        command = self.coordinator.command([tag], generation=self.generation + 1)
        command.previous_hash = head
        if how == "key":
            envelope = FakeCoordinator().sign(command)
        elif how == "fleet":
            command.fleet_id = "other"
            envelope = self.coordinator.sign(command)
        elif how == "fork":
            command.previous_hash = bytes([at + 1]) * 32
            envelope = self.coordinator.sign(command)
        else:
            envelope = self.coordinator.sign(command)
            if how == "bit":
                payload = bytearray(envelope.payload)
                payload[at] ^= 1
                envelope.payload = bytes(payload)
            else:
                envelope.payload_type = "reram_fleet.v1.Lease"
        self.rejected(log_range([envelope]))

    def rejected(self, message: ConnectResponse) -> None:
        try:
            self.node.receive(message)
        except LogRejectedError:
            self.requests.clear()
            self.present = None
            reason = self.node.serve_status()[1]
            assert reason == types.QUARANTINE_REASON_GAP
        else:
            raise AssertionError("a range that does not extend the log was taken")

    @rule()
    def heartbeat(self) -> None:
        for message in self.node.heartbeat():
            if message.WhichOneof("message") == "heartbeat":
                self.requests[message.heartbeat.lease_nonce] = self.clock.boottime

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def coordinator_answers_a_heartbeat(self, data: st.DataObject) -> None:
        nonce = data.draw(st.sampled_from(list(self.requests)))
        lease = self.coordinator.lease(self.node.node_id, nonce, max_age_s=LEASE_S)
        self.leases.append((lease, nonce, len(self.coordinator.log)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_lease_arrives_perhaps_again(self, data: st.DataObject) -> None:
        lease, nonce, generation = data.draw(st.sampled_from(self.leases))
        self.node.receive(lease)
        sent_s = self.requests.pop(nonce, None)
        if sent_s is not None and (self.present is None or sent_s >= self.present[0]):
            self.present = (sent_s, generation)

    @rule()
    def a_stranger_sends_a_lease(self) -> None:
        nonce = next(iter(self.requests), b"nonce")
        try:
            self.node.receive(FakeCoordinator().lease(self.node.node_id, nonce))
        except ProtocolError:
            self.requests.clear()
            self.present = None
        else:
            raise AssertionError("a lease signed by a stranger was taken")

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def power_cut(self) -> None:
        self.memory.restore(self.memory.backup())
        self.requests.clear()
        self.present = None
        assert self.node.serve_status()[1] == types.QUARANTINE_REASON_NO_LEASE

    @invariant()
    def the_node_holds_exactly_a_prefix_of_the_log(self) -> None:
        status = self.node.status()
        assert status.generation == self.generation
        assert set(status.subject_tags) == set(TAGS) - self.forgotten(self.generation)

    @invariant()
    def adapters_answer_under_a_live_lease_of_a_suppressed_generation_and_never_otherwise(self) -> None:
        answer = self.node.identify([sample(voice) for voice in range(len(TAGS))])
        may_serve = (
            self.present is not None
            and self.clock.boottime < self.present[0] + LEASE_S
            and self.present[1] <= self.generation
        )
        assert answer.backbone_only == (not may_serve)
        accepted = {row.best_tag for row in answer.answers if row.accepted}
        assert accepted == (set(TAGS) - self.forgotten(self.generation) if may_serve else set())


GenerationProtocol.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestGenerationProtocol = GenerationProtocol.TestCase
