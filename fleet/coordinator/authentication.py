"""Bearer tokens on the coordinator's loopback APIs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from reram_fleet.crypto import bearer

#: NodeService needs no token: a node proves itself with its key, by answering the challenge.
OPEN_SERVICES = frozenset({"reram_fleet.v1.NodeService"})


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the bearer token of their service.

    Parameters
    ----------
    tokens
        Service name to its token; services in neither `tokens` nor `OPEN_SERVICES` are refused.
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
