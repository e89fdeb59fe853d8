"""Commits of other processes: PostgreSQL tells whoever listens; a SQLite file has no other writers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from reram_fleet.processes.backoff import Backoff
from sqlalchemy import URL, Connection, Engine, event, func, select

from fleet.store.engines import CONNECT

if TYPE_CHECKING:
    from psycopg import AsyncConnection

logger = logging.getLogger(__name__)

_CHANNEL = "reram_fleet_commits"
_WROTE = "reram_fleet_wrote"
_BACKOFF = Backoff(first_s=0.2, longest_s=10.0)


class CommitAnnouncer:
    """Announces, as part of it, each transaction that has changed a row; `name` says whose commits these are."""

    def __init__(self, engine: Engine) -> None:
        self.name = secrets.token_hex(8)
        self._heard = engine.dialect.name == "postgresql"
        if self._heard:
            event.listen(engine, "after_cursor_execute", _note)

    def begin(self, connection: Connection) -> None:
        """Forget what an earlier transaction of a connection has done: it was rolled back."""
        connection.info.pop(_WROTE, None)

    def announce(self, connection: Connection) -> None:
        """Let listeners hear of a transaction when it commits; one that has changed nothing wakes nobody.

        Else two coordinators that look whenever the other has looked would never rest.
        """
        if self._heard and connection.info.pop(_WROTE, False):
            connection.execute(select(func.pg_notify(_CHANNEL, self.name)))


def _note(connection: Connection, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
    if (context.isinsert or context.isupdate or context.isdelete) and context.rowcount:
        connection.info[_WROTE] = True


class CommitListener:
    """Wakes this process when another one has committed; over SQLite, never."""

    def __init__(self, url: URL, name: str) -> None:
        self._address = None
        if url.drivername != "sqlite":
            self._address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._name = name
        self._connection: AsyncConnection | None = None
        self._failures = 0

    async def wait(self) -> None:
        """Return when another process has committed since the last call, or may have: the connection is a new one."""
        if self._address is None:
            await asyncio.Event().wait()
            return
        from psycopg import OperationalError

        while True:
            try:
                if self._connection is None:
                    self._connection = await self._connect(self._address)
                    self._failures = 0
                    return
                # To the end, not out of the middle: the generator holds the connection until it is done.
                said = [notice.payload async for notice in self._connection.notifies(stop_after=1)]
                if any(name != self._name for name in said):
                    return
            except OperationalError as error:
                self._failures += 1
                logger.warning("commits of other coordinators are not heard of: %s", str(error).partition("\n")[0])
                await self.close()
                await asyncio.sleep(_BACKOFF.delay_s(self._failures))

    async def _connect(self, address: str) -> AsyncConnection:
        from psycopg import AsyncConnection

        connection = await AsyncConnection.connect(address, autocommit=True, **CONNECT)
        await connection.execute(f"LISTEN {_CHANNEL}")
        return connection

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
