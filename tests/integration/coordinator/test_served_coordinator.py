"""Callers of the coordinator as a process: let in, refused, and given up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.parser import text_string_to_metric_families
from reram_fleet.crypto import signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.stream_opening import hello_metadata
from reram_fleet.v1 import learning_pb2, operator_pb2
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1.learning_pb2_grpc import LearningServiceStub
from reram_fleet.v1.node_pb2_grpc import NodeServiceStub
from reram_fleet.v1.operator_pb2_grpc import OperatorServiceStub

from fleet.client import AbsentError, PermissionDeniedError
from tests.device import Device
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory) -> Iterator[CoordinatorProcess]:
    """Return one coordinator for all tests: none of them forgets anybody."""
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
def node(coordinator) -> Device:
    """Return a node of this test alone, enrolled."""
    node = Device(f"node-{new_tag()[:8]}")
    coordinator.enroll(node)
    return node


def connect(coordinator, node, open_stream):
    stream = open_stream(coordinator.channel(), node)
    stream.wait_heard("lease")
    return stream


# Who may talk to it


def impostor(node: Device, how: str) -> Device:
    """Let a node answer the challenge, but with another hello than its own."""
    changes = {
        "old nonce": {"challenge_nonce": bytes(32)},
        "other fleet": {"fleet_id": "other"},
        "unknown node": {"node_id": "nobody"},
    }

    def says(message: wire.ConnectRequest) -> wire.ConnectRequest | None:
        if not message.HasField("hello"):
            return None
        if how == "no hello":
            return wire.ConnectRequest(heartbeat=wire.Heartbeat())
        hello = wire.Hello.FromString(message.hello.payload)
        for name, value in changes.get(how, {}).items():
            setattr(hello, name, value)
        key = Ed25519PrivateKey.generate() if how == "wrong key" else node.signing_key
        return wire.ConnectRequest(hello=signing.sign(key, hello))

    node.says = says
    return node


@pytest.mark.parametrize(
    ("how", "status", "details"),
    [
        ("wrong key", grpc.StatusCode.UNAUTHENTICATED, "signed by key"),
        ("old nonce", grpc.StatusCode.UNAUTHENTICATED, "another challenge"),
        ("other fleet", grpc.StatusCode.UNAUTHENTICATED, "belongs to fleet other"),
        ("unknown node", grpc.StatusCode.NOT_FOUND, "nobody"),
        ("no hello", grpc.StatusCode.UNAUTHENTICATED, "opened by a signed hello"),
    ],
)
def test_stream_with_a_bad_hello_is_ended_and_opens_nothing(
    coordinator, client, node, open_stream, how, status, details
):
    stream = open_stream(coordinator.channel(), impostor(node, how))
    assert stream.wait_ended() is status
    assert details in stream.details
    assert [message.WhichOneof("message") for message in stream.heard] == ["challenge"]
    assert not client.get_node(node.node_id).node.connected


def test_hello_opens_one_stream_only(coordinator, node, open_stream):
    said = []

    def says(message):
        if message.HasField("hello"):
            said.append(message.hello)
        return message

    node.says = says
    connect(coordinator, node, open_stream)
    with coordinator.channel() as channel:
        replayed = NodeServiceStub(channel).Connect(iter(()), metadata=hello_metadata(said[0]))
        with pytest.raises(grpc.RpcError) as refused:
            next(replayed)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "answered before" in refused.value.details()


def test_node_connects_while_two_hundred_strangers_are_silent(coordinator, node, open_stream):
    host, port = coordinator.address.split(":")
    released = threading.Event()

    def say_nothing():
        released.wait()
        yield from ()

    with ExitStack() as stack:
        stack.callback(released.set)
        for _ in range(100):
            stack.enter_context(socket.create_connection((host, int(port))))
        streams = []
        for _ in range(10):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = stack.enter_context(coordinator.channel(options=options))
            streams += [NodeServiceStub(channel).Connect(say_nothing()) for _ in range(10)]
        connect(coordinator, node, open_stream)
        # None of them holds what a node would need.
        assert {stream.code() for stream in streams} == {grpc.StatusCode.UNAUTHENTICATED}


def test_two_challenges_are_never_the_same(coordinator, node, open_stream):
    challenges = set()
    for _ in range(2):
        stream = open_stream(coordinator.channel(), impostor(node, "wrong key"))
        stream.wait_ended()
        challenges.add(stream.heard[0].challenge.nonce)
    assert len(challenges) == 2
    assert {len(nonce) for nonce in challenges} == {32}


def test_node_that_contradicts_itself_is_sent_away(coordinator, client, node, open_stream):
    stream = connect(coordinator, node, open_stream)
    stream.say(wire.ConnectRequest(suppressed=wire.Suppressed(generation=10**6)))
    assert stream.wait_ended() is grpc.StatusCode.PERMISSION_DENIED
    assert "reports generation 1000000" in stream.details
    eventually("the node is gone", lambda: not client.get_node(node.node_id).node.connected)


@pytest.mark.parametrize("token", [None, "Bearer ", "Bearer wrong"])
def test_operator_without_the_token_is_unauthenticated(coordinator, token):
    metadata = [] if token is None else [("authorization", token)]
    with coordinator.channel() as channel:
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


def test_calls_are_counted_by_how_they_ended(coordinator, client):
    def counted():
        return {
            (sample.labels["grpc_method"], sample.labels["grpc_code"]): sample.value
            for family in text_string_to_metric_families(coordinator.metrics())
            for sample in family.samples
            if sample.name == "grpc_server_handled_total"
        }

    before = counted()
    client.get_fleet()
    with pytest.raises(AbsentError):
        list(client.watch_forget("nothing"))
    with coordinator.channel() as channel:
        for call in (
            OperatorServiceStub(channel).GetFleet,
            channel.unary_unary("/reram_fleet.v1.OperatorService/Nothing", lambda request: b""),
        ):
            with pytest.raises(grpc.RpcError):
                call(operator_pb2.GetFleetRequest())
    more = {key: value - before.get(key, 0) for key, value in counted().items()}
    for key in (
        ("GetFleet", "OK"),
        ("GetFleet", "UNAUTHENTICATED"),
        ("WatchForget", "NOT_FOUND"),
        ("", "UNIMPLEMENTED"),
    ):
        assert more[key] == 1, (key, more)


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


def test_second_stream_of_a_node_supersedes_the_first(coordinator, client, node, open_stream):
    first = connect(coordinator, node, open_stream)
    second = connect(coordinator, node, open_stream)
    assert first.wait_ended() is grpc.StatusCode.OK
    assert client.get_node(node.node_id).node.connected
    assert second.status is None


def test_a_node_whose_heartbeats_end_is_gone_before_one_of_unknown_pace(coordinator, client, open_stream):
    node, unheard = Device(f"node-{new_tag()[:8]}", heartbeat_s=0.2), Device(f"node-{new_tag()[:8]}")
    coordinator.enroll(node)
    coordinator.enroll(unheard)
    # Opened last, it says no more than its hello: its limit is the one for nodes of unknown pace.
    alive = connect(coordinator, node, open_stream)
    for _ in range(8):
        alive.heartbeat()
    silent = open_stream(coordinator.channel(), unheard)
    silent.wait_heard("challenge")
    eventually("the silent one is connected", lambda: client.get_node(unheard.node_id).node.connected)
    alive.wait_ended()
    eventually("the node is lost", lambda: not client.get_node(node.node_id).node.connected)
    assert client.get_node(unheard.node_id).node.connected
    assert 'fleet_nodes{state="lost"}' in coordinator.metrics()


class Network:
    """Network between a machine and the coordinator; `silent` lets connections stand and carries nothing any more."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._coordinator = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self._listener.accept()[0], socket.create_connection(self._coordinator)
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.silent.is_set():
                    target.sendall(data)

    def close(self) -> None:
        for end in self._ends:
            end.close()


def test_a_machine_that_stands_still_is_noticed_though_its_connection_stands(coordinator, client, open_stream):
    stopped = Device(f"node-{new_tag()[:8]}", heartbeat_s=0.2)
    coordinator.enroll(stopped)
    with contextlib.closing(Network(coordinator.address)) as network:
        open_stream(coordinator.channel(network.address), stopped).wait_heard("lease")
        network.silent.set()
        eventually("it is lost", lambda: not client.get_node(stopped.node_id).node.connected)


def test_watching_what_is_not_there_is_not_found(client):
    with pytest.raises(AbsentError):
        list(client.watch_forget("0" * 26, timeout_s=60.0))
