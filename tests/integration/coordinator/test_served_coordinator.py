"""The coordinator as a process: who may talk to it, and what a kill costs."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet import signing
from reram_fleet.v1 import learning_pb2, operator_pb2
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1.learning_pb2_grpc import LearningServiceStub
from reram_fleet.v1.operator_pb2_grpc import OperatorServiceStub

from fleet.client import AbsentError, ForbiddenStateError, PermissionDeniedError
from fleet.coordinator.testing import FEATURES, SimulatedNode
from fleet.domain.tags import new_tag
from tests.integration.coordinator.coordinator_process import (
    OPTIONS,
    CoordinatorProcess,
    NodeStream,
    eventually,
)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory) -> Iterator[CoordinatorProcess]:
    """Return a coordinator that serves; a test that kills it starts it again."""
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"))
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def client(coordinator):
    with coordinator.client() as client:
        yield client


@pytest.fixture
def open_streams():
    """Open streams that are closed with the test."""
    streams: list[NodeStream] = []

    def open_stream(*arguments) -> NodeStream:
        streams.append(NodeStream(*arguments))
        return streams[-1]

    yield open_stream
    for stream in streams:
        stream.close()


@pytest.fixture
def node(request, coordinator) -> SimulatedNode:
    """Return a node of this test alone, enrolled, with one person on it."""
    node = SimulatedNode(f"node-{new_tag()[:8]}")
    coordinator.enroll(node)
    node.capture(new_tag(), list(range(1000, 1000 + FEATURES)))
    return node


@pytest.fixture
def person(node) -> str:
    (tag,) = node.journal.enrolled
    return tag


def connect(coordinator, client, node, open_streams, *answers):
    """Connect a node; returns its stream once everybody knows the node's person."""
    stream = open_streams and open_streams(coordinator.address, node, *answers)
    stream.wait_heard("lease")
    stream.beat()
    eventually("the node runs the desired revision", lambda: settled(client, node))
    return stream


def settled(client, node):
    fleet = client.get_fleet()
    return fleet.revision > 0 and client.get_node(node.node_id).node.revision == fleet.revision


@pytest.fixture(autouse=True)
def other_nodes_are_done(coordinator):
    """Let every forget of a test converge in it: its nodes are gone afterwards."""
    yield
    with coordinator.client() as client:
        assert client.get_fleet().forgets_open == 0


# Who may talk to it


class Impostor(SimulatedNode):
    """Answers the challenge, but changes its hello first."""

    def __init__(self, genuine: SimulatedNode, how: str) -> None:
        super().__init__(genuine.node_id)
        self.join(genuine.fleet_id, genuine.command_key, genuine.coordinator_sealing_key)
        self.signing_key, self.how = genuine.signing_key, how

    def receive(self, message):
        if message.WhichOneof("message") != "challenge":
            return super().receive(message)
        hello = wire.Hello(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            challenge_nonce=message.challenge.nonce,
            log_head=self.journal.log_head,
        )
        key = self.signing_key
        if self.how == "wrong key":
            key = Ed25519PrivateKey.generate()
        elif self.how == "old nonce":
            hello.challenge_nonce = bytes(32)
        elif self.how == "other fleet":
            hello.fleet_id = "other"
        elif self.how == "unknown node":
            hello.node_id = "nobody"
        elif self.how == "no hello":
            return [wire.ConnectRequest(heartbeat=wire.Heartbeat())]
        return [wire.ConnectRequest(hello=signing.sign(key, hello))]


@pytest.mark.parametrize(
    ("how", "status", "details"),
    [
        ("wrong key", grpc.StatusCode.UNAUTHENTICATED, "signed by key"),
        ("old nonce", grpc.StatusCode.UNAUTHENTICATED, "another challenge"),
        ("other fleet", grpc.StatusCode.UNAUTHENTICATED, "belongs to fleet other"),
        ("unknown node", grpc.StatusCode.NOT_FOUND, "nobody"),
        ("no hello", grpc.StatusCode.UNAUTHENTICATED, "must be a signed hello"),
    ],
)
def test_stream_with_a_bad_hello_is_ended_and_opens_nothing(
    coordinator, client, node, open_streams, how, status, details
):
    stream = open_streams(coordinator.address, Impostor(node, how))
    assert stream.wait_ended() is status
    assert details in stream.details
    assert [message.WhichOneof("message") for message in stream.heard] == ["challenge"]
    assert not client.get_node(node.node_id).node.connected


def test_two_challenges_are_never_the_same(coordinator, node, open_streams):
    challenges = set()
    for _ in range(2):
        stream = open_streams(coordinator.address, Impostor(node, "wrong key"))
        stream.wait_ended()
        challenges.add(stream.heard[0].challenge.nonce)
    assert len(challenges) == 2
    assert {len(nonce) for nonce in challenges} == {32}


def test_node_that_contradicts_itself_is_sent_away(coordinator, client, node, open_streams):
    stream = connect(coordinator, client, node, open_streams)
    stream.say(wire.ConnectRequest(suppressed=wire.Suppressed(generation=10**6)))
    assert stream.wait_ended() is grpc.StatusCode.PERMISSION_DENIED
    assert "reports generation 1000000" in stream.details
    eventually("the node is gone", lambda: not client.get_node(node.node_id).node.connected)


@pytest.mark.parametrize("token", [None, "Bearer ", "Bearer wrong"])
def test_operator_without_the_token_is_unauthenticated(coordinator, token):
    metadata = [] if token is None else [("authorization", token)]
    with grpc.insecure_channel(coordinator.address, options=OPTIONS) as channel:
        operator, learning = OperatorServiceStub(channel), LearningServiceStub(channel)
        calls = [
            lambda: operator.GetFleet(operator_pb2.GetFleetRequest(), metadata=metadata),
            lambda: operator.CreateForget(operator_pb2.CreateForgetRequest(), metadata=metadata),
            lambda: list(operator.WatchForget(operator_pb2.WatchForgetRequest(), metadata=metadata)),
            lambda: learning.GetJob(learning_pb2.GetJobRequest(), metadata=metadata),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_token_of_learning_jobs_is_none_of_an_operator(coordinator):
    with (
        coordinator.client(coordinator.state / "keys" / "learning.token") as client,
        pytest.raises(PermissionDeniedError),
    ):
        client.get_fleet()


def test_second_coordinator_on_the_same_state_is_refused(coordinator):
    second = CoordinatorProcess(coordinator.state)
    served = (coordinator.state / "serve.json").read_bytes()
    try:
        with pytest.raises(AssertionError, match="another coordinator serves"):
            second.start()
    finally:
        second.kill()
        (coordinator.state / "serve.json").write_bytes(served)


# What it does


def test_second_stream_of_a_node_supersedes_the_first(coordinator, client, node, open_streams):
    first = connect(coordinator, client, node, open_streams)
    second = connect(coordinator, client, node, open_streams)
    assert first.wait_ended() is grpc.StatusCode.OK
    assert client.get_node(node.node_id).node.connected
    assert second.status is None


def test_watcher_sees_a_forget_from_commit_to_converged(coordinator, client, node, person, open_streams):
    absent = SimulatedNode(f"absent-{new_tag()[:8]}")
    coordinator.enroll(absent)
    connect(coordinator, client, node, open_streams)
    created = client.create_forget("watched", [person])
    assert created.created
    forgets = client.watch_forget(created.forget.campaign_id, timeout_s=60.0)
    states = [next(forgets).state]
    eventually(
        "the connected node verifies",
        lambda: "verified" in {e.state for e in client.get_forget(created.forget.campaign_id).executions},
    )
    # The campaign waits for the one that is away, and with it the watcher.
    open_streams(coordinator.address, absent)
    seen = [*states, *(forget.state for forget in forgets)]
    assert seen[-1] == "converged"
    order = ["committed", "suppressing", "erasing", "converged"]
    assert seen == sorted(seen, key=order.index)
    final = client.get_forget(created.forget.campaign_id)
    assert {execution.state for execution in final.executions} <= {"verified", "not_affected"}
    assert final.seconds_to_verify >= final.seconds_to_suppress >= 0.0
    assert person not in node.active()
    again = client.create_forget("watched", [person])
    assert (again.created, again.forget.campaign_id) == (False, created.forget.campaign_id)
    with pytest.raises(ForbiddenStateError, match="different forget"):
        client.create_forget("watched", [new_tag()], allow_unknown=True)


def test_watching_what_is_not_there_is_not_found(client):
    with pytest.raises(AbsentError):
        list(client.watch_forget("0" * 26, timeout_s=60.0))
