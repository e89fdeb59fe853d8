"""NodeService: the stream between the coordinator and one node.

What a node needs is a function of the store (`outbox.py`); this module opens the stream, checks who is there, and
moves messages. Everything that a node sends is handled in `reports.py`, one transaction each, so that an acknowledged
message is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.stream_opening import CHALLENGE_KEY, HELLO_KEY
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import node_pb2_grpc
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.authentication import ChallengeError, Challenges
from fleet.coordinator.core import Coordinator
from fleet.coordinator.nodes.report_checks import Effect, QuarantineError, ReportError
from fleet.coordinator.nodes.reports import claimed_hello
from fleet.coordinator.nodes.sessions import HeartbeatPace, Session, woken
from fleet.errors import FleetError, NotFoundError

logger = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[wire.ConnectRequest, wire.ConnectResponse]"

#: Messages that wait to be written to one node.
OUTBOX_LIMIT = 64
#: A message that a node has not taken by then keeps its stream from ending in order.
WRITE_LIMIT_S = 5.0
#: What a node needs is looked at this often also if nothing was announced: a lost wake-up costs time only.
LOOK_AGAIN_S = 5.0


class NodeService(node_pb2_grpc.NodeServiceServicer):
    """Serves one bidirectional stream per node."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._challenges = Challenges()

    async def Connect(
        self,
        request_iterator: AsyncIterator[wire.ConnectRequest],
        context: Context,
    ) -> None:
        """Serve a node whose hello holds, until either side leaves; refuse anybody else with a challenge."""
        # No message is asked for before: gRPC reads the whole of one as soon as it is.
        node_id = await self._welcome(context)
        session = self._coordinator.env.sessions.open(node_id)
        logger.info("node %s connected", node_id)
        # Bounded: a node that talks without listening is not listened to either.
        outbox: asyncio.Queue[wire.ConnectResponse] = asyncio.Queue(OUTBOX_LIMIT)
        writing = asyncio.Lock()
        tasks = [
            asyncio.create_task(self._read(request_iterator, session, outbox)),
            asyncio.create_task(self._watch(session, outbox)),
            asyncio.create_task(self._write(context, outbox, writing)),
        ]
        try:
            self._coordinator.changes.announce()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await _written(writing)
            for task in done:
                error = task.exception()
                if isinstance(error, ReportError | SignatureError):
                    logger.warning("node %s: %s", node_id, error)
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
                elif isinstance(error, FleetError):
                    logger.warning("node %s: %s", node_id, error)
                    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
                elif isinstance(error, DecodeError):
                    logger.warning("node %s sent something that cannot be parsed", node_id)
                    await self._put_aside(node_id, wire.ConnectRequest(), "it cannot be parsed")
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a message cannot be parsed")
                elif error is not None and not isinstance(error, grpc.RpcError | asyncio.CancelledError):
                    raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._coordinator.env.sessions.close(session)
            logger.info("node %s disconnected", node_id)
            self._coordinator.changes.announce()

    async def _welcome(self, context: Context) -> str:
        try:
            request = _hello_of(context)
            nonce = claimed_hello(request).challenge_nonce
            self._challenges.take(nonce)
            try:
                return await self._coordinator.run(lambda unit: unit.reports.check_hello(request, nonce))
            except BaseException:
                self._challenges.give_back(nonce)
                raise
        except ChallengeError as error:
            # In the metadata: those are not held back by a receiver's window, as a message would be.
            challenge = wire.Challenge(nonce=self._challenges.new()).SerializeToString()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error), ((CHALLENGE_KEY, challenge),))
        except NotFoundError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except (SignatureError, FleetError) as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        raise AssertionError("abort raises")

    async def _read(
        self,
        requests: AsyncIterator[wire.ConnectRequest],
        session: Session,
        outbox: asyncio.Queue[wire.ConnectResponse],
    ) -> None:
        pace = HeartbeatPace()
        while True:
            try:
                # Not `wait_for`: see `woken`.
                async with asyncio.timeout(pace.silence_limit_s):
                    request = await anext(requests)
            except (StopAsyncIteration, TimeoutError):
                return
            if session.superseded:
                return
            if request.WhichOneof("message") == "heartbeat":
                pace.note(asyncio.get_running_loop().time())
            effect = await self._take(session.node_id, request)
            for reply in effect.replies:
                await outbox.put(reply)
            if effect.changed:
                self._coordinator.env.sessions.wake_all()
                self._coordinator.changes.announce()

    async def _take(self, node_id: str, request: wire.ConnectRequest) -> Effect:
        """Act upon a message, or put it aside: what one node says must never stop what others wait for."""
        try:
            return await self._coordinator.run(lambda unit: unit.reports.handle(node_id, request))
        except QuarantineError as error:
            refused: Exception = error
            logger.warning("a report of node %s is put aside: %s", node_id, error)
        except (FleetError, SignatureError) as error:
            await self._put_aside(node_id, request, str(error))
            raise
        except Exception as error:
            # A defect of ours, perhaps; the node's next messages may be sound.
            refused = error
            logger.exception("a report of node %s cannot be handled", node_id)
        reason = str(refused) if isinstance(refused, QuarantineError) else f"it cannot be handled: {refused!r}"
        await self._put_aside(node_id, request, reason)
        return Effect()

    async def _put_aside(self, node_id: str, request: wire.ConnectRequest, reason: str) -> None:
        await self._coordinator.run(lambda unit: unit.reports.put_aside(node_id, request, reason))

    async def _watch(self, session: Session, outbox: asyncio.Queue[wire.ConnectResponse]) -> None:
        while not session.superseded:
            session.wake.clear()
            for message in await self._coordinator.run(lambda unit: unit.outbox.due(session)):
                await outbox.put(message)
            await woken(session.wake, LOOK_AGAIN_S)

    async def _write(
        self,
        context: Context,
        outbox: asyncio.Queue[wire.ConnectResponse],
        writing: asyncio.Lock,
    ) -> None:
        while True:
            message = await outbox.get()
            async with writing:
                await context.write(message)


async def _written(writing: asyncio.Lock) -> None:
    """Wait for the message that is being written, and let no other begin.

    gRPC cannot end a call meanwhile: it refuses to, and the node would wait on a stream that nobody serves.
    """
    try:
        async with asyncio.timeout(WRITE_LIMIT_S):
            await writing.acquire()
    except TimeoutError:
        logger.info("a node does not take the message that it is sent")


def _hello_of(context: Context) -> wire.ConnectRequest:
    for key, value in context.invocation_metadata() or ():
        if key == HELLO_KEY:
            try:
                return wire.ConnectRequest(hello=types.Envelope.FromString(bytes(value)))
            except DecodeError as error:
                raise ReportError(f"the hello in the metadata of a stream must be an envelope: {error}") from error
    raise ChallengeError("a stream is opened by a signed hello that answers the challenge of this refusal")
