"""EngineService on a Unix socket in the node's folder: for the device's application and the Flower ClientApp."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from reram_fleet.crypto import bearer
from reram_fleet.errors import FleetError
from reram_fleet.processes.channel import listen_on_socket
from reram_fleet.v1 import engine_pb2 as wire
from reram_fleet.v1.engine_pb2_grpc import EngineServiceServicer, add_EngineServiceServicer_to_server

from edge_node.agent.node import Node
from edge_node.errors import (
    EngineError,
    NodeError,
    NotAllowedError,
    ProtocolError,
    RefusedError,
    RoundError,
    TaskError,
)
from edge_node.tasks.samples import decode_samples

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 * 2**20
MAX_CALLS = 64
R = TypeVar("R", bound=Message)


def _status_code(error: FleetError) -> grpc.StatusCode:
    match error:
        case ProtocolError() | NotAllowedError():
            return grpc.StatusCode.PERMISSION_DENIED
        case RefusedError() | RoundError():
            return grpc.StatusCode.FAILED_PRECONDITION
        case EngineError() if not isinstance(error, TaskError):
            return grpc.StatusCode.INVALID_ARGUMENT
        case _:
            return grpc.StatusCode.INTERNAL


class EngineService(EngineServiceServicer):
    """RPCs of one node. Method names are the protocol's.

    Parameters
    ----------
    connected, supernode
        Return whether the coordinator answers, and the state of the node's SuperNode.
    changed
        Called after an enrolment: there is something to contribute.
    """

    def __init__(
        self, node: Node, *, connected: Callable[[], bool], supernode: Callable[[], str], changed: Callable[[], None]
    ) -> None:
        self._node, self._connected, self._supernode, self._changed = node, connected, supernode, changed

    def GetStatus(self, request: wire.GetStatusRequest, context: grpc.ServicerContext) -> Message:
        """Return the node's state."""

        def answer() -> wire.GetStatusResponse:
            status = self._node.status()
            status.connected, status.supernode = self._connected(), self._supernode()
            return status

        return self._answer(context, answer)

    def Enroll(self, request: wire.EnrollRequest, context: grpc.ServicerContext) -> Message:
        """Capture and keep a person's samples; durable before it answers."""

        def answer() -> wire.EnrollResponse:
            response = self._node.enroll(request.ticket, decode_samples(request.samples))
            self._changed()
            return response

        return self._answer(context, answer)

    def Identify(self, request: wire.IdentifyRequest, context: grpc.ServicerContext) -> Message:
        """Say who is heard, or that only the backbone serves."""
        return self._answer(context, lambda: self._node.identify(decode_samples(request.samples)))

    def Authenticate(self, request: wire.AuthenticateRequest, context: grpc.ServicerContext) -> Message:
        """Say whether samples are of a claimed person, or why that is not told."""
        return self._answer(context, lambda: self._node.authenticate(request, decode_samples(request.samples)))

    def Generate(self, request: wire.GenerateRequest, context: grpc.ServicerContext) -> Message:
        """Generate images of a class, or say why not."""
        return self._answer(context, lambda: self._node.generate(request))

    def RunRound(self, request: wire.RunRoundRequest, context: grpc.ServicerContext) -> Message:
        """Run one round of a learning job."""
        return self._answer(context, lambda: self._node.run_round(request.ticket, request.sealed_state))

    def _answer(self, context: grpc.ServicerContext, work: Callable[[], R]) -> R:
        try:
            return work()
        except FleetError as error:
            code = _status_code(error)
            if code is grpc.StatusCode.INTERNAL:
                logger.exception("a call of the engine failed")
            context.abort(code, str(error))
        except OSError as error:
            # A full disk: a key could not be written, or what was to be kept under it.
            logger.exception("a call of the engine failed")
            context.abort(grpc.StatusCode.INTERNAL, f"this node's folder cannot be used now: {error.strerror or error}")
        raise AssertionError("abort raises")


class _BearerToken(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Interceptor that refuses calls without the token."""

    def __init__(self, token: str) -> None:
        self._expected = token

        def refuse(requests: object, context: grpc.ServicerContext) -> None:
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "send 'authorization: Bearer TOKEN' with the token in the node's engine.token",
            )

        # A handler of streams reads no message: what a stranger sends is never buffered.
        self._refuse = grpc.stream_stream_rpc_method_handler(refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Pass a call on if it brings the token."""
        given = dict(handler_call_details.invocation_metadata).get("authorization", "")
        if bearer.allows(self._expected, given):
            return continuation(handler_call_details)
        return self._refuse


def serve(service: EngineService, token: str, path: Path) -> tuple[grpc.Server, str]:
    """Start the service on a Unix socket; return the server and its address.

    Raises as `socket_address`; `NodeError` if the socket cannot be made.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers=8, thread_name_prefix="engine-service"),
        interceptors=[_BearerToken(token)],
        maximum_concurrent_rpcs=MAX_CALLS,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # The probe lets megabytes of a call be buffered that nobody reads.
            ("grpc.http2.bdp_probe", 0),
        ],
    )
    add_EngineServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    try:
        address = listen_on_socket(server, path)
    except RuntimeError as error:
        raise NodeError(f"cannot serve the engine at {path}: {error}") from error
    server.start()
    return server, address
