"""NodeService: the stream between the coordinator and one node.

What a node needs is a function of the store (`nodes/outbox.py`), sent by the dispatcher; this module opens the stream,
checks who is there, and takes what the node says. Heartbeats and telemetry are answered from memory, everything else is
handled in `nodes/reports.py` as one transaction, so that an acknowledged message is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TypeAlias
from urllib.parse import unquote

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
from fleet.coordinator.nodes.heartbeats import Heartbeats
from fleet.coordinator.nodes.links import StreamLink
from fleet.coordinator.nodes.recovery import ForkError
from fleet.coordinator.nodes.report_checks import Effect, QuarantineError, ReportError
from fleet.coordinator.nodes.reports import claimed_hello
from fleet.coordinator.nodes.sessions import Session, silence_limit_s
from fleet.domain.tallies import Refusal
from fleet.errors import FleetError, NotFoundError, StoreError

logger = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[wire.ConnectRequest, wire.ConnectResponse]"


class NodeService(node_pb2_grpc.NodeServiceServicer):
    """Serves one bidirectional stream per node."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._challenges = Challenges(draw=coordinator.env.randomness.draw)
        self._heartbeats = Heartbeats(coordinator.env)

    async def Connect(
        self,
        request_iterator: AsyncIterator[wire.ConnectRequest],
        context: Context,
    ) -> None:
        """Serve a node whose hello holds, until either side leaves; refuse anybody else with a challenge."""
        # No message is asked for before: gRPC reads the whole of one as soon as it is.
        node_id = await self._welcome(context)
        coordinator, sessions = self._coordinator, self._coordinator.env.sessions
        link = StreamLink(node_id, context.write)
        session = sessions.open(node_id, link)
        logger.info("node %s connected", node_id)
        coordinator.dispatcher.wake([node_id])
        coordinator.announce()
        status, refusal = grpc.StatusCode.OK, ""
        try:
            await self._read(request_iterator, session, link)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not session.superseded or task is None:
                raise
            task.uncancel()
            status, refusal = grpc.StatusCode.PERMISSION_DENIED, session.refusal
        except (ReportError, SignatureError) as error:
            status, refusal = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except FleetError as error:
            status, refusal = grpc.StatusCode.FAILED_PRECONDITION, str(error)
        except DecodeError:
            await self._put_aside(node_id, wire.ConnectRequest(), "it cannot be parsed", Refusal.REJECTED)
            status, refusal = grpc.StatusCode.INVALID_ARGUMENT, "a message cannot be parsed"
        finally:
            sessions.close(session)
            logger.info("node %s disconnected", node_id)
            coordinator.announce()
        await link.written()
        if refusal:
            logger.warning("node %s: %s", node_id, refusal)
            await context.abort(status, refusal)

    async def _welcome(self, context: Context) -> str:
        try:
            request = _hello_of(context)
            nonce = claimed_hello(request).challenge_nonce
            self._challenges.take(nonce)
            try:
                node_id = await self.welcome(request, nonce)
            except BaseException:
                self._challenges.give_back(nonce)
                raise
            address = metrics_address(claimed_hello(request).metrics_port, context.peer())
            self._coordinator.env.sessions.of(node_id).metrics_address = address
            return node_id
        except ChallengeError as error:
            # In the metadata: those are not held back by a receiver's window, as a message would be.
            challenge = wire.Challenge(nonce=self._challenges.new()).SerializeToString()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error), ((CHALLENGE_KEY, challenge),))
        except NotFoundError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except ForkError as error:
            # The hello is the node's: operators must see why it does not come back.
            await self._put_aside(claimed_hello(request).node_id, request, str(error), Refusal.REJECTED)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except (SignatureError, FleetError) as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        raise AssertionError("abort raises")

    async def welcome(self, request: wire.ConnectRequest, nonce: bytes) -> str:
        """Return the id of the node whose hello answers a challenge; raises what `Reports.check_hello` raises."""
        claimed = claimed_hello(request)
        return await self._coordinator.run(lambda unit: unit.reports.check_hello(request, nonce), claimed.node_id)

    async def _read(self, requests: AsyncIterator[wire.ConnectRequest], session: Session, link: StreamLink) -> None:
        limit_s = silence_limit_s(0)
        while True:
            try:
                # Not `wait_for`: see `woken`.
                async with asyncio.timeout(limit_s):
                    request = await anext(requests)
            except (StopAsyncIteration, TimeoutError):
                return
            if (heartbeat := self._heartbeats.of(request)) is not None:
                # It is answered with how often the fleet as it is now may beat.
                limit_s = silence_limit_s(max(heartbeat.interval_ms / 1000, self._heartbeats.interval_s()))
            effect = await self.take(session.node_id, request)
            session.send(effect.replies)
            if effect.changed:
                self._coordinator.announce()
            await link.room()

    async def take(self, node_id: str, request: wire.ConnectRequest) -> Effect:
        """Act upon a message, or put it aside: what one node says must never stop what others wait for.

        Raises `FleetError` or `SignatureError` if the node contradicts the log, itself, or its signature; `StoreError`
        if a disk fails.
        """
        try:
            match request.WhichOneof("message"):
                case "heartbeat":
                    return await self._take_heartbeat(node_id, request.heartbeat)
                case "telemetry":
                    now_ms = self._coordinator.database.store.now_ms()
                    return self._heartbeats.take_telemetry(node_id, request.telemetry, now_ms)
            effect = await self._coordinator.run(lambda unit: unit.reports.handle(node_id, request), node_id)
            if (heartbeat := self._heartbeats.of(request)) is not None:
                beat = await self._take_heartbeat(node_id, heartbeat)
                return Effect((*effect.replies, *beat.replies), effect.changed or beat.changed)
            return effect
        except QuarantineError as error:
            refused: Exception = error
            logger.warning("a report of node %s is put aside: %s", node_id, error)
        except (FleetError, SignatureError) as error:
            await self._put_aside(node_id, request, str(error), Refusal.REJECTED)
            raise
        except OSError as error:
            # Of a key file, perhaps: nothing is wrong with the report, and the node says it again on its next stream.
            raise StoreError(f"a report of node {node_id} cannot be kept now: {error.strerror or error}") from error
        except Exception as error:
            # A defect of ours, perhaps; the node's next messages may be sound.
            refused = error
            logger.exception("a report of node %s cannot be handled", node_id)
        reason = str(refused) if isinstance(refused, QuarantineError) else f"it cannot be handled: {refused!r}"
        await self._put_aside(node_id, request, reason, Refusal.QUARANTINED)
        return Effect()

    async def _take_heartbeat(self, node_id: str, heartbeat: wire.Heartbeat) -> Effect:
        env, clock = self._coordinator.env, self._coordinator.database.store.now_ms
        now_ms = clock()
        while not env.leases.covers(now_ms + round(1000 * env.settings.lease_s)):
            await self._coordinator.run(lambda unit: unit.leases.reserve())
            now_ms = clock()
        return self._heartbeats.take(node_id, heartbeat, now_ms)

    async def _put_aside(self, node_id: str, request: wire.ConnectRequest, reason: str, why: Refusal) -> None:
        await self._coordinator.run(lambda unit: unit.reports.put_aside(node_id, request, reason, why))


def metrics_address(port: int, peer: str) -> str:
    """Return where a node's metrics are: at the host that it comes from, so that it can name nobody else's."""
    host = "127.0.0.1" if peer.startswith("unix:") else unquote(peer).partition(":")[2].rpartition(":")[0]
    return f"{host}:{port}" if host and 0 < port < 65536 else ""


def _hello_of(context: Context) -> wire.ConnectRequest:
    for key, value in context.invocation_metadata() or ():
        if key == HELLO_KEY:
            try:
                return wire.ConnectRequest(hello=types.Envelope.FromString(bytes(value)))
            except DecodeError as error:
                raise ReportError(f"the hello in the metadata of a stream must be an envelope: {error}") from error
    raise ChallengeError("a stream is opened by a signed hello that answers the challenge of this refusal")
