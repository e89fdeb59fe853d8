"""Opening of a node's stream: challenge and hello travel in gRPC metadata, before any message.

The coordinator reads no message of a stream whose hello does not hold, so that gRPC never buffers more of a stranger's
than the window that HTTP/2 gives a stream from the start. As in HTTP authentication, a call without a hello is refused
with UNAUTHENTICATED and a challenge; the next call brings the hello that answers it.
"""

from __future__ import annotations

from typing import Any

import grpc

from reram_fleet.v1.node_pb2 import Challenge
from reram_fleet.v1.types_pb2 import Envelope

#: Trailing metadata of the refusal: a serialised Challenge.
CHALLENGE_KEY = "challenge-bin"
#: Metadata of the call: the serialised envelope of a Hello.
HELLO_KEY = "hello-bin"


def hello_metadata(hello: Envelope) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that opens a stream."""
    return ((HELLO_KEY, hello.SerializeToString()),)


def request_challenge(stub: Any, timeout_s: float) -> Challenge:
    """Return a fresh challenge of the coordinator; `grpc.RpcError` if nobody answers in time, or with something else.

    `stub` is the NodeServiceStub of a synchronous channel.
    """
    call = stub.Connect(iter(()), timeout=timeout_s)
    try:
        for _ in call:
            call.cancel()
    except grpc.RpcError as error:
        for key, value in call.trailing_metadata() or ():
            if key == CHALLENGE_KEY:
                return Challenge.FromString(value)
        raise error
    raise ValueError("the coordinator has opened a stream that nobody asked for")
