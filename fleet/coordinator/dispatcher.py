"""Sending of what connected nodes need, when something that concerns them has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from fleet.coordinator.nodes.outbox import Due
from fleet.coordinator.nodes.sessions import Session, woken
from fleet.coordinator.unit import UnitOfWork
from fleet.coordinator.work import Environment

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Streams that are looked at over one view of the store.
AT_ONCE = 200
#: How long wake-ups gather after a look: most of what one costs is the same for few nodes as for many.
GATHER_S = 0.05
#: What nodes need is looked up this often also if nothing was told: a lost wake-up costs time only.
SWEEP_EVERY_S = 5.0


class Reading(Protocol):
    """A coordinator, as far as the dispatcher needs one."""

    env: Environment

    async def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Do some reading over one consistent view of the store."""
        ...


class Dispatcher:
    """Outbox of all sessions: what changed wakes those whom it concerns."""

    def __init__(self, coordinator: Reading) -> None:
        self._coordinator = coordinator
        self._woken: set[str] = set()
        self._everybody = False
        self._wake = asyncio.Event()

    def wake(self, node_ids: Iterable[str] | None = None) -> None:
        """Look again at what these nodes need, or all."""
        if node_ids is None:
            self._everybody = True
        else:
            self._woken |= self._coordinator.env.sessions.among(node_ids)
        if self._everybody or self._woken:
            self._wake.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            # Whom one commit after the other concerns is looked at together.
            await asyncio.sleep(GATHER_S)
            if not await woken(self._wake, SWEEP_EVERY_S):
                self.wake(await self._coordinator.read(lambda unit: unit.outbox.behind()))
            await self.look()

    async def look(self) -> None:
        """Send to all who were woken what is due to them."""
        self._wake.clear()
        chosen = None if self._everybody else self._woken
        self._woken, self._everybody = set(), False
        sessions = self._coordinator.env.sessions.chosen(chosen)
        if chosen is None:
            await self._in_parts(self._send_log, sessions)
        await self._in_parts(self.send_due, sessions)

    async def _in_parts(
        self, send: Callable[[Sequence[Session]], Awaitable[None]], sessions: Sequence[Session]
    ) -> None:
        """Send to so many at a time that whoever asks something meanwhile is answered between."""
        for start in range(0, len(sessions), AT_ONCE):
            part = sessions[start : start + AT_ONCE]
            try:
                await send(part)
            except Exception:
                # The next sweep finds them again; a dead loop would find nobody.
                logger.exception("what %d nodes need cannot be looked up", len(part))

    async def _send_log(self, sessions: Sequence[Session]) -> None:
        self._send(await self._coordinator.read(lambda unit: unit.outbox.log_due(sessions)))

    async def send_due(self, sessions: Sequence[Session]) -> None:
        """Send on each of these streams what its node needs now, or end it."""
        self._send(await self._coordinator.read(lambda unit: unit.outbox.due(sessions)))

    def _send(self, due: Sequence[Due]) -> None:
        for each in due:
            if each.refusal or each.over:
                each.session.end(each.refusal)
            else:
                each.session.send(each.messages)
