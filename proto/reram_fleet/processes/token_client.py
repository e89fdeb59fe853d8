"""Client of a service that a bearer token opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar

import grpc
from google.protobuf.message import Message

from reram_fleet.processes.channel import open_channel

R = TypeVar("R")


class TokenClient:
    """Connection to a service that a bearer token opens; use it in a `with` statement.

    Parameters
    ----------
    address
        `host:port` of the service, or `unix:PATH`.
    token
        The token, sent with every call.
    stub
        The generated class of the service, which has no types: called with the channel.
    ca_pem
        Certificate of the authority that vouches for the service, PEM: without one the token goes to Unix sockets only
        (`InvalidInputError`).
    """

    def __init__(self, address: str, token: str, stub: Callable[[grpc.Channel], Any], *, ca_pem: bytes = b"") -> None:
        self.address = address
        self._metadata = (("authorization", f"Bearer {token}"),)
        # A server that restarts is found again within a second, not after gRPC's minutes.
        options = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000))
        self._channel = open_channel(address, ca_pem, options)
        self.stub = stub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, method: Any, answer: type[R], request: Message, timeout_s: float) -> R:
        """Call a method of the stub; `answer` is what it returns."""
        try:
            found: R = method(request, metadata=self._metadata, timeout=timeout_s)
        except grpc.RpcError as error:
            self._refuse(error)
        return found

    def _refuse(self, error: grpc.RpcError) -> NoReturn:
        """Raise an error for a failed call: the same, if the caller does not translate it."""
        raise error
