"""Authentication of callers: bearer tokens on the APIs, challenges that the hellos of nodes answer."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from reram_fleet.crypto import bearer

from fleet.errors import FleetError

#: NodeService needs no token: a node proves itself with its key, by answering the challenge.
OPEN_SERVICES = frozenset({"reram_fleet.v1.NodeService"})
#: From a challenge to the hello that answers it.
LIFETIME_S = 30.0
_BODY_BYTES = 16
_MAC_BYTES = 16


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses calls without the bearer token of their service.

    `tokens` has the token by the name of the service; services in neither `tokens` nor `OPEN_SERVICES` are refused.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Let the call through, or answer it with UNAUTHENTICATED."""
        service = handler_call_details.method.split("/")[1]
        handler = await continuation(handler_call_details)
        if service in OPEN_SERVICES or handler is None:
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        if bearer.allows(self._tokens.get(service, ""), metadata.get("authorization", "")):
            return handler
        return _REFUSAL


async def _refuse(requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    message = "this call needs the bearer token in the coordinator's state folder"
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)


#: Answers a call of any kind. As a handler of streams it reads no message, so that what a stranger sends is
#: never buffered; one of unary calls would be handed the message, whole.
_REFUSAL = grpc.stream_stream_rpc_method_handler(_refuse)


class ChallengeError(FleetError):
    """A hello answers no challenge that is open: never given out, expired, or answered before."""


class Challenges:
    """Nonces of one coordinator process, each good for one stream.

    They are recognised by a MAC over their time (of a clock that never goes back), so that giving them to whoever
    asks takes no memory; only those with which a stream was opened are remembered, until they expire.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._now_s, self._draw, self._key = now_s, draw, draw(32)
        self._taken: dict[bytes, float] = {}

    def new(self) -> bytes:
        """Return a fresh nonce (32 bytes)."""
        body = struct.pack(">d", self._now_s()) + self._draw(_BODY_BYTES - 8)
        return body + self._mac(body)

    def take(self, nonce: bytes) -> None:
        """Take a nonce off those that may be answered; `ChallengeError` if it is not one of them."""
        now_s = self._now_s()
        while self._taken and now_s - next(iter(self._taken.values())) > LIFETIME_S:
            del self._taken[next(iter(self._taken))]
        body, mac = nonce[:_BODY_BYTES], nonce[_BODY_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise ChallengeError("the hello answers another challenge than one of this coordinator")
        if now_s - struct.unpack(">d", body[:8])[0] > LIFETIME_S or nonce in self._taken:
            raise ChallengeError("the hello answers another challenge: this one expired, or was answered before")
        self._taken[nonce] = now_s

    def give_back(self, nonce: bytes) -> None:
        """Let a nonce be answered again: the hello did not hold."""
        self._taken.pop(nonce, None)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]
