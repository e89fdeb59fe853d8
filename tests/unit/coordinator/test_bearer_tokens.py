from __future__ import annotations

import asyncio

import grpc
import pytest

from fleet.coordinator.authentication import TokenInterceptor

OPERATOR = "/reram_fleet.v1.OperatorService/GetFleet"
WATCH = "/reram_fleet.v1.OperatorService/WatchForget"
LEARNING = "/reram_fleet.v1.LearningService/GetJob"
NODE = "/reram_fleet.v1.NodeService/Connect"
TOKENS = {"reram_fleet.v1.OperatorService": "operator-token", "reram_fleet.v1.LearningService": "job-token"}


class Details(grpc.HandlerCallDetails):
    def __init__(self, method, *authorization):
        self.method = method
        self.invocation_metadata = [("user-agent", "test"), *(("authorization", v) for v in authorization)]


class RefusedError(Exception):
    pass


class Context:
    async def abort(self, code, message):
        raise RefusedError(code, message)


class Unread:
    def __aiter__(self):
        raise AssertionError("a message of a stranger was read")


def answer_to(method, *authorization, interceptor=None):
    """Return "served", or the status of the refusal."""
    streams = method in (WATCH, NODE)
    make = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler

    async def serve(request, context):
        return "served"

    async def continuation(details):
        return make(serve)

    async def call():
        handler = await (interceptor or TokenInterceptor(TOKENS)).intercept_service(
            continuation, Details(method, *authorization)
        )
        if handler.request_streaming:
            # As a stream of requests: none of them is read before the call is refused.
            return await handler.stream_stream(Unread(), Context())
        assert handler.response_streaming == streams
        return await (handler.unary_stream if streams else handler.unary_unary)(b"", Context())

    try:
        return asyncio.run(call())
    except RefusedError as refused:
        return refused.args[0]


def test_call_with_the_token_of_its_service_is_served():
    assert answer_to(OPERATOR, "Bearer operator-token") == "served"
    assert answer_to(WATCH, "Bearer operator-token") == "served"
    assert answer_to(LEARNING, "Bearer job-token") == "served"


@pytest.mark.parametrize("method", [OPERATOR, WATCH, LEARNING])
@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param((), id="none"),
        pytest.param(("",), id="empty"),
        pytest.param(("Bearer ",), id="no token"),
        pytest.param(("Bearer wrong",), id="wrong"),
        pytest.param(("Bearer operator-toke",), id="cut off"),
        pytest.param(("Bearer tökén",), id="not ASCII"),
    ],
)
def test_call_without_the_token_is_unauthenticated(method, authorization):
    assert answer_to(method, *authorization) is grpc.StatusCode.UNAUTHENTICATED


def test_empty_token_on_the_servers_side_opens_nothing():
    interceptor = TokenInterceptor({"reram_fleet.v1.OperatorService": ""})
    for given in ("", "Bearer", "Bearer "):
        assert answer_to(OPERATOR, given, interceptor=interceptor) is grpc.StatusCode.UNAUTHENTICATED


def test_token_of_one_service_opens_no_other():
    assert answer_to(OPERATOR, "Bearer job-token") is grpc.StatusCode.UNAUTHENTICATED
    assert answer_to(LEARNING, "Bearer operator-token") is grpc.StatusCode.UNAUTHENTICATED


def test_nodes_need_no_token_since_they_answer_a_challenge():
    assert answer_to(NODE) == "served"


def test_service_that_nobody_gave_a_token_is_closed():
    assert answer_to("/some.other.Service/Call", "Bearer ") is grpc.StatusCode.UNAUTHENTICATED


def test_unknown_method_is_left_to_the_server_to_refuse():
    async def continuation(details):
        return None

    details = Details("/reram_fleet.v1.OperatorService/NoSuchCall")
    assert asyncio.run(TokenInterceptor(TOKENS).intercept_service(continuation, details)) is None
