"""Meter of the coordinator's gRPC calls, in the names of the gRPC ecosystem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from inspect import isasyncgenfunction
from typing import Any

import grpc
import grpc.aio
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("grpc_service", "grpc_method", "grpc_code")
_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class CallMeter(grpc.aio.ServerInterceptor, Collector):  # type: ignore[misc]  # grpc has no types
    """Counts calls by service, method and status; the first of a server's interceptors, so that it sees refusals."""

    def __init__(self) -> None:
        self._handled: Counter[tuple[str, str, str]] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Have the call counted when it has ended."""
        handler = await continuation(handler_call_details)
        if handler is None:
            # No such method, by whatever name a stranger gave it.
            self._handled["", "", grpc.StatusCode.UNIMPLEMENTED.name] += 1
            return handler
        _, service, method = handler_call_details.method.split("/")
        kind, rebuilt = _KINDS[handler.request_streaming, handler.response_streaming]
        counted = self._counted(getattr(handler, kind), service, method)
        return rebuilt(counted, handler.request_deserializer, handler.response_serializer)

    def _counted(self, behaviour: Any, service: str, method: str) -> Any:
        def note(context: Any, error: BaseException | None) -> None:
            code = context.code() or (grpc.StatusCode.OK if error is None else grpc.StatusCode.UNKNOWN)
            if error is not None and not isinstance(error, Exception):
                code = grpc.StatusCode.CANCELLED
            self._handled[service, method, getattr(code, "name", str(code))] += 1

        async def call(request: Any, context: Any) -> Any:
            try:
                answer = await behaviour(request, context)
            except BaseException as error:
                note(context, error)
                raise
            note(context, None)
            return answer

        async def stream(request: Any, context: Any) -> Any:
            try:
                async for answer in behaviour(request, context):
                    yield answer
            except BaseException as error:
                note(context, error)
                raise
            note(context, None)

        return stream if isasyncgenfunction(behaviour) else call

    def describe(self) -> Iterator[Metric]:
        """Return the family without samples."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Return the calls since the process began."""
        family = self._family()
        for labels, count in sorted(self._handled.items()):
            family.add_metric(labels, count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "grpc_server_handled", "gRPC calls that have ended, since the process began.", labels=_LABELS
        )
