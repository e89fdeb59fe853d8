"""A node that says anything: random, extreme and malformed messages of every type, from a seed."""

from __future__ import annotations

import os
import queue
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from reram_fleet.crypto import sealing
from reram_fleet.stream_opening import hello_metadata, request_challenge
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2_grpc import NodeServiceStub

from tests.device import Device

_LIMIT_S = 30.0
_CONNECT = "/reram_fleet.v1.NodeService/Connect"
_EXTREMES = {
    FieldDescriptor.TYPE_UINT64: (0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 1, 3, 4097, 2**31, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (0, -1, 2**62, 2**63 - 1, -(2**63)),
    FieldDescriptor.TYPE_SINT64: (0, -1, 1, 2**40, 2**63 - 1, -(2**63)),
    FieldDescriptor.TYPE_SINT32: (0, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.TYPE_DOUBLE: (0.0, -1.0, 1e300, float("inf"), float("-inf"), float("nan")),
    FieldDescriptor.TYPE_FLOAT: (0.0, -1.0, 3e38, float("inf"), float("nan")),
    FieldDescriptor.TYPE_BOOL: (False, True),
}


@dataclass
class Noise:
    """Makes messages.

    Parameters
    ----------
    node
        Who is enrolled, and whose keys sign.
    tags
        People of other nodes, whom the messages try to name.
    """

    node: Device
    tags: tuple[str, ...]
    seed: int
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def message(self) -> bytes:
        """Return the bytes of a message, or what is none."""
        kind = self.random.choice([*wire.ConnectRequest.DESCRIPTOR.fields_by_name, "nothing", "bytes", "plausible"])
        if kind == "nothing":
            return b""
        if kind == "bytes":
            return self.random.randbytes(self.random.choice([1, 7, 100, 3000]))
        if kind == "plausible":
            return self.random.choice([self._contribution, self._receipt])()
        request = wire.ConnectRequest()
        getattr(request, kind).SetInParent()
        self._fill(getattr(request, kind), kind)
        return request.SerializeToString()

    def _fill(self, message: Message, kind: str = "") -> None:
        if isinstance(message, types.Envelope):
            self._seal(message, kind)
            return
        for descriptor in message.DESCRIPTOR.fields:
            if self.random.random() < 0.3:
                continue
            if descriptor.is_repeated:
                for _ in range(self.random.choice([0, 1, 2, 40])):
                    if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
                        self._fill(getattr(message, descriptor.name).add())
                    else:
                        getattr(message, descriptor.name).append(self._value(descriptor))
            elif descriptor.type == FieldDescriptor.TYPE_MESSAGE:
                getattr(message, descriptor.name).SetInParent()
                self._fill(getattr(message, descriptor.name))
            else:
                setattr(message, descriptor.name, self._value(descriptor))

    def _value(self, descriptor: FieldDescriptor) -> Any:
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            return self.random.choice([0, 1, 2, 77, -5])
        if descriptor.type == FieldDescriptor.TYPE_STRING:
            return self._text(descriptor.name)
        if descriptor.type == FieldDescriptor.TYPE_BYTES:
            return self.random.randbytes(self.random.choice([0, 1, 16, 32, 33, 5000]))
        return self.random.choice(_EXTREMES[descriptor.type])

    def _text(self, name: str) -> str:
        known = {"fleet_id": self.node.fleet_id, "node_id": self.random.choice(["node-1", self.node.node_id])}
        wild = ["", "x" * 5000, "\x1b[2J[red]\u202e", "../../keys/command.key", *self.tags]
        return known[name] if name in known and self.random.random() < 0.8 else self.random.choice(wild)

    def _seal(self, envelope: types.Envelope, kind: str) -> None:
        """Sign a random message of the right type, mostly; or leave rubbish."""
        right: dict[str, Callable[[], Message]] = {
            "hello": wire.Hello,
            "receipt": types.Receipt,
            "contribution": wire.Contribution,
            "public_codes": wire.PublicCodes,
            "": wire.SessionKey,
        }
        inner = self.random.choice([right[kind], right[kind], right[kind], types.Lease, types.ForgetCommand])()
        self._fill(inner)
        envelope.CopyFrom(self.node.signed(inner))
        if self.random.random() < 0.2:
            envelope.payload = self.random.randbytes(50)
        if self.random.random() < 0.2:
            envelope.key_id = self._text("")

    def _contribution(self) -> bytes:
        """Return a contribution that is right but for one thing, or in nothing wrong but what it sums up."""
        tag, sums = self.random.choice(self.tags), [0, 1, -1, 3000, 2**40, -(2**63)]
        adapter = types.SubjectAdapter(
            subject_tag=self.random.choice([tag, tag, self.random.choice(self.tags)]),
            count=self.random.choice([0, 1, 3, 4096, 4097, 2**32 - 1]),
            code_sum=self.random.choices(sums, k=self.random.choice([0, 31, 32])),
            kind=self.random.choice([0, 0, 0, 1, 9]),
        )
        purpose = sealing.contribution_purpose(self.node.fleet_id, self.node.node_id, tag)
        contribution = wire.Contribution(
            fleet_id=self.node.fleet_id,
            node_id=self.node.node_id,
            subject_tag=tag,
            sequence=self.random.choice([0, 1, 2, 2**63 - 1, 2**63]),
            adapter=sealing.seal(
                self.node.enrollment.coordinator_sealing_public_key, purpose, adapter.SerializeToString()
            ),
        )
        envelope = self.node.signed(contribution)
        return wire.ConnectRequest(contribution=envelope).SerializeToString()

    def _receipt(self) -> bytes:
        receipt = types.Receipt(fleet_id=self.node.fleet_id, node_id=self.node.node_id)
        self._fill(receipt)
        envelope = self.node.signed(receipt)
        return wire.ConnectRequest(receipt=envelope).SerializeToString()


def shout(channel: grpc.Channel, noise: Noise, messages: int, between: Callable[[int], None]) -> int:
    """Send messages on as many streams as it takes, one after the other; closes the channel, returns how many streams.

    Parameters
    ----------
    between
        Called after each message that was dealt with, with the number of those so far.
    """
    sent = streams = 0
    with channel:
        while sent < messages:
            streams += 1
            for _ in _stream(channel, noise, messages - sent):
                sent += 1
                between(sent)
    return streams


def _stream(channel: grpc.Channel, noise: Noise, messages: int) -> Iterator[None]:
    """Say hello and go on until the coordinator has had enough; yields after each message dealt with."""
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    challenge = request_challenge(NodeServiceStub(channel), _LIMIT_S)
    hello, *_ = noise.node.receive(wire.ConnectResponse(challenge=challenge))
    call = channel.stream_stream(
        _CONNECT, request_serializer=None, response_deserializer=wire.ConnectResponse.FromString
    )(iter(outgoing.get, None), metadata=hello_metadata(hello.hello))
    try:
        for _ in range(messages):
            outgoing.put(noise.message())
            # Answered once the message before it was dealt with; or the stream is closed because of that one.
            nonce = os.urandom(16)
            outgoing.put(wire.ConnectRequest(heartbeat=wire.Heartbeat(lease_nonce=nonce)).SerializeToString())
            open_still = _await_lease(call, noise.node, nonce)
            yield
            if not open_still:
                return
    finally:
        call.cancel()
        outgoing.put(None)


def _await_lease(call: Iterator[wire.ConnectResponse], node: Device, nonce: bytes) -> bool:
    try:
        for response in call:
            if response.HasField("lease"):
                if types.Lease.FromString(response.lease.payload).request_nonce == nonce:
                    return True
            elif response.WhichOneof("message") in ("forget_log", "revision"):
                # It follows the log and the revisions, or it would soon have nothing to say.
                node.receive(response)
    except grpc.RpcError:
        return False
    return False
