"""Stream to the coordinator: connects, listens, sends heartbeats, and comes back when it is cut."""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable

import grpc
from reram_fleet.processes.backoff import Backoff
from reram_fleet.processes.channel import is_unvouched, open_channel
from reram_fleet.stream_opening import hello_metadata, request_challenge
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.node_pb2_grpc import NodeServiceStub

from edge_node.agent.node import JITTER, Node
from edge_node.errors import ProtocolError

logger = logging.getLogger(__name__)

#: A revision with the head of a thousand people; gRPC's own limit for a receiver is 4 MiB.
MAX_MESSAGE_BYTES = 16 * 2**20
#: For the coordinator to answer the first call with a challenge.
CHALLENGE_TIMEOUT_S = 5.0
#: The coordinator answers every heartbeat: silence for this many of them means that nobody is there.
SILENT_HEARTBEATS = 8
#: Full jitter: a whole fleet may have lost its coordinator at one moment.
RECONNECT_BACKOFF = Backoff(first_s=0.2, longest_s=5.0, least=0.0)
#: Trying again does not help until somebody has done something.
_REFUSALS = frozenset([grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])


class NodeLink:
    """Keeper of one stream of NodeService for a node, open until `stop`.

    Parameters
    ----------
    address
        host:port of the coordinator's NodeService, or `unix:PATH`.
    ca_pem
        Certificate of the authority that vouches for it (PEM); a Unix socket needs none.
    connect_delay_s
        Upper bound of the random wait before the first connection; half of it is the lower bound.
    on_refusal
        Called with why node and coordinator do not go together, when that changes; "" once they do.
    """

    def __init__(
        self,
        node: Node,
        address: str,
        *,
        ca_pem: bytes = b"",
        connect_delay_s: float = 0.0,
        on_refusal: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._node, self._address, self._ca_pem = node, address, ca_pem
        self._connect_delay_s = connect_delay_s
        self._on_refusal, self._refusal = on_refusal, ""
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._stream: grpc.Call | None = None
        self._thread = threading.Thread(target=self._run, name="node-link", daemon=True)
        self._answered = False
        self._heard = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether the coordinator has answered on the present stream."""
        return self._answered

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def wake(self) -> None:
        """Send a heartbeat now, since something goes with it."""
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close the stream and end."""
        self._stopping.set()
        self._wake.set()
        if (stream := self._stream) is not None:
            stream.cancel()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._stopping.wait(random.uniform(self._connect_delay_s / 2, self._connect_delay_s))
        self._node.started()
        failures = 0
        while not self._stopping.is_set():
            try:
                self._connect_once()
            except grpc.RpcError as error:
                logger.info("the stream to %s ended: %s", self._address, _status(error))
                if isinstance(error, grpc.Call) and error.code() in _REFUSALS:
                    self._note_refusal(f"the coordinator refuses this node: {error.details()}")
                elif is_unvouched(error):
                    self._note_refusal(
                        f"whoever answers at {self._address} is not the coordinator: the authority that this node has "
                        "pinned does not vouch for it (has the fleet another one now? `edge-node join` pins it)"
                    )
            except ProtocolError as error:
                logger.warning("closed the stream to %s: %s", self._address, error)
                self._note_refusal(f"this node refuses the coordinator: {error}")
            except Exception:
                # A rim must not die of what it carries: the node has withdrawn its lease; try again.
                logger.exception("closed the stream to %s", self._address)
            failures = 1 if self._answered else failures + 1
            self._answered = False
            self._stopping.wait(RECONNECT_BACKOFF.delay_s(failures))

    def _note_refusal(self, reason: str) -> None:
        if reason != self._refusal:
            self._refusal = reason
            if reason:
                logger.warning("%s", reason)
            self._on_refusal(reason)

    def _connect_once(self) -> None:
        outgoing: queue.SimpleQueue[ConnectRequest | None] = queue.SimpleQueue()
        ended = threading.Event()
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        with open_channel(self._address, self._ca_pem, options) as channel:
            stub = NodeServiceStub(channel)  # type: ignore[no-untyped-call]
            challenge = ConnectResponse(challenge=request_challenge(stub, CHALLENGE_TIMEOUT_S))
            hello, *following = self._node.receive(challenge)
            for message in following:
                outgoing.put(message)
            self._heard.clear()
            stream = stub.Connect(iter(outgoing.get, None), metadata=hello_metadata(hello.hello))
            self._stream = stream
            heartbeats = threading.Thread(
                target=self._send_heartbeats, args=(stream, outgoing, ended), name="node-heartbeat", daemon=True
            )
            heartbeats.start()
            try:
                if self._stopping.is_set():
                    return
                for message in stream:
                    kind = message.WhichOneof("message")
                    for answer in self._node.receive(message):
                        outgoing.put(answer)
                    self._heard.set()
                    # Anything else proves nothing: a listener that never answers a heartbeat is no contact.
                    self._answered = self._answered or kind == "lease"
                    if self._answered:
                        self._note_refusal("")
            finally:
                self._stream = None
                ended.set()
                self._wake.set()
                stream.cancel()
                outgoing.put(None)
                heartbeats.join()

    def _send_heartbeats(
        self, stream: grpc.Call, outgoing: queue.SimpleQueue[ConnectRequest | None], ended: threading.Event
    ) -> None:
        silent = 0
        try:
            while True:
                self._wake.wait(self._node.heartbeat_s * random.uniform(*JITTER))
                self._wake.clear()
                if ended.is_set():
                    return
                silent = 0 if self._heard.is_set() else silent + 1
                self._heard.clear()
                if silent >= SILENT_HEARTBEATS:
                    logger.info("nothing came from %s for %d heartbeats", self._address, silent)
                    return
                for message in self._node.heartbeat():
                    outgoing.put(message)
        except Exception:
            logger.exception("cannot send a heartbeat: the stream to %s is closed", self._address)
        finally:
            # Without heartbeats the stream is of no use: end it, so that the link connects again.
            stream.cancel()


def _status(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else repr(error)
