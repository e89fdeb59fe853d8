"""A real gRPC NodeService whose answers a test scripts."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from reram_fleet.crypto import signing
from reram_fleet.stream_opening import CHALLENGE_KEY, HELLO_KEY
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.node_pb2_grpc import NodeServiceServicer, add_NodeServiceServicer_to_server
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.agent.link import MAX_MESSAGE_BYTES
from edge_node.testing import FakeCoordinator
from tests.tls import local_tls

T = TypeVar("T")


def eventually(what: str, probe: Callable[[], T | None], limit_s: float = 120.0) -> T:
    """Return the first truthy answer of a probe."""
    deadline, pause_s = time.monotonic() + limit_s, 0.02
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.25)
    raise AssertionError(f"never came: {what}")


class ScriptedCoordinator(NodeServiceServicer):
    """Coordinator that challenges, checks the hello, sends the log, leases while `leasing`; the rest is `say`."""

    def __init__(self, identity: types.NodeIdentity) -> None:
        self.fake = FakeCoordinator()
        self.identity = identity
        self.leasing = True
        self._nonce = b""
        self.hellos: list[node_pb2.Hello] = []
        self.heard: list[ConnectRequest] = []
        self._streams: list[queue.SimpleQueue[ConnectResponse | None]] = []
        # As the real one: a contribution with statistics has megabytes.
        limit = ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[limit])
        add_NodeServiceServicer_to_server(self, self._server)
        self.address = local_tls().listen(self._server)
        self._server.start()

    def enrollment(self) -> EnrollNodeResponse:
        """Return what the node needs to join this coordinator."""
        return self.fake.enrollment(self.address, local_tls().ca_pem)

    def stop(self) -> None:
        for stream in self._streams:
            stream.put(None)
        self._server.stop(grace=1.0).wait()

    def Connect(self, requests: Iterator[ConnectRequest], context: grpc.ServicerContext) -> Any:  # noqa: N802
        outgoing: queue.SimpleQueue[ConnectResponse | None] = queue.SimpleQueue()
        metadata = dict(context.invocation_metadata())
        if HELLO_KEY not in metadata:
            self._nonce = os.urandom(16)
            challenge = node_pb2.Challenge(nonce=self._nonce).SerializeToString()
            context.set_trailing_metadata([(CHALLENGE_KEY, challenge)])
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "answer this challenge")
        envelope = types.Envelope.FromString(metadata[HELLO_KEY])
        hello = signing.open_envelope(envelope, node_pb2.Hello, self.identity.receipt_public_key)
        assert hello.challenge_nonce == self._nonce
        self.hellos.append(hello)
        if self.fake.log[hello.generation :]:
            yield self.fake.log_after(hello.generation)
        self._streams.append(outgoing)
        reader = threading.Thread(target=self._read, args=(requests, outgoing), daemon=True)
        reader.start()
        yield from iter(outgoing.get, None)

    def _read(self, requests: Iterator[ConnectRequest], outgoing: queue.SimpleQueue[ConnectResponse | None]) -> None:
        try:
            for request in requests:
                self.heard.append(request)
                if request.WhichOneof("message") == "heartbeat" and self.leasing:
                    nonce = request.heartbeat.lease_nonce
                    outgoing.put(self.fake.lease(self.identity.node_id, nonce))
        except grpc.RpcError:
            # The node went away; so does this stream.
            outgoing.put(None)

    def say(self, message: ConnectResponse) -> None:
        """Send on the present stream."""
        self._streams[-1].put(message)

    def next(self, kind: str, limit_s: float = 60.0) -> Any:
        """Return the next message of a kind that has not been taken yet."""

        def take() -> Any:
            for request in self.heard:
                if request.WhichOneof("message") == kind:
                    self.heard.remove(request)
                    return (getattr(request, kind),)
            return None

        return eventually(f"a {kind}", take, limit_s)[0]
