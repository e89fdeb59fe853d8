"""Database of the coordinator, and transactions over it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError

from fleet.errors import ConflictError, StoreError
from fleet.store.cohorts import Cohorts
from fleet.store.fleet import Fleet
from fleet.store.forgets import Forgets
from fleet.store.heads import Heads
from fleet.store.learning import LearningJobs
from fleet.store.log import ForgetLog
from fleet.store.nodes import AuditEvents, Nodes
from fleet.store.repository import Scope
from fleet.store.revisions import Revisions
from fleet.store.subjects import Subjects
from fleet.store.touched import Contacts, Touched
from fleet.store.tree import Tree

_WRITES = "reram_fleet_writes"
_BUSY_TIMEOUT_MS = 20_000


def wall_clock_ms() -> int:
    """Return the Unix time in ms."""
    return time.time_ns() // 1_000_000


class Transaction:
    """The repositories, over one database transaction, and the one time `now_ms` of everything that it writes."""

    def __init__(self, scope: Scope) -> None:
        self._scope, self.now_ms, self.touched = scope, scope.now_ms, scope.touched
        self.fleet = Fleet(scope)
        self.nodes = Nodes(scope)
        self.log = ForgetLog(scope)
        self.forgets = Forgets(scope)
        self.subjects = Subjects(scope)
        self.revisions = Revisions(scope)
        self.heads = Heads(scope)
        self.learning = LearningJobs(scope)
        self.cohorts = Cohorts(scope)
        self.tree = Tree(scope)
        self.audit_events = AuditEvents(scope)

    @property
    def writes(self) -> int:
        """How many statements have written so far."""
        return len(self._scope.wrote)


class Store:
    """The coordinator's database. Safe to use from several threads.

    Examples
    --------
    >>> with Store.open("sqlite:///fleet.db") as store, store.transaction() as tx:
    ...     tx.fleet.create("fleet-1")
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms
        #: Heartbeats and telemetry that are not written yet.
        self.contacts = Contacts()
        #: Called with what a transaction has changed once that is durable, in the thread that wrote it.
        self.on_commit: Callable[[Touched], None] = lambda touched: None
        # SQLite has one writer, and its busy handler sleeps and polls: threads queue here instead.
        self._writer = threading.Lock()
        self._writer_thread: int | None = None

    @classmethod
    def open(cls, url: str, *, now_ms: Callable[[], int] = wall_clock_ms) -> Self:
        """Open the database, make it if it is not there, and bring its schema up to date.

        `StoreError` if it cannot be opened, or was written by a newer version.

        `url` is an SQLAlchemy address, for example ``sqlite:////var/lib/fleet/fleet.db``; `now_ms` a clock, Unix time.
        """
        try:
            where = make_url(url)
            engine = create_engine(where)
        except ArgumentError as error:
            raise StoreError(f"not a database address: {error}") from error
        if engine.dialect.name == "sqlite":
            _make_private(where.database)
            _configure_sqlite(engine)
        store = cls(engine, now_ms)
        try:
            store._migrate()
        except (DBAPIError, CommandError) as error:
            engine.dispose()
            raise StoreError(
                f"cannot open {where.render_as_string(hide_password=True)}: {error}",
                hint="check the path and its permissions, and that no newer version has written it",
            ) from error
        return store

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", "fleet.store:migrations")
        with self._engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Read and write; commits at the end, rolls back on any exception.

        `ConflictError` if a constraint of the schema forbids the write.
        """
        if self._writer_thread == threading.get_ident():
            raise StoreError("a transaction is already open in this thread", hint="pass the transaction on")
        with self._writer:
            self._writer_thread = threading.get_ident()
            try:
                with self._begin(writes=True) as transaction:
                    yield transaction
            finally:
                self._writer_thread = None

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read only: one consistent view that waits for no writer. What is written in it is rolled back."""
        with self._begin(writes=False) as transaction:
            yield transaction

    @contextmanager
    def _begin(self, *, writes: bool) -> Iterator[Transaction]:
        connecting = self._engine.connect().execution_options(**{_WRITES: writes})
        with connecting as connection, _own_errors(), connection.begin() as begun:
            transaction = Transaction(Scope(connection, self._now_ms(), contacts=self.contacts))
            yield transaction
            if not writes:
                begun.rollback()
        if writes:
            self.on_commit(transaction.touched)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise errors of the database as ours."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(f"the database refused a write: {error.orig}") from error
    except OperationalError as error:
        # A full disk, a lost mount, a lock that nobody gives back: not the caller's doing.
        raise StoreError(f"the database cannot be used now: {error.orig}") from error


def _make_private(database: str | None) -> None:
    """Make the file, if it is not there, and let only its owner read it; SQLite's WAL takes its mode."""
    if not database or database == ":memory:":
        return
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for path in (database, f"{database}-wal", f"{database}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the database {database}: {error.strerror or error}", hint="check the path and its permissions"
        ) from error


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # sqlite3 would begin transactions by itself, late and DEFERRED: two writers could then deadlock.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # A receipt that was acknowledged must survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        # Deleted rows are overwritten; their keys are gone as well, this is the second line.
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
