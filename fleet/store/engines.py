"""Engines of SQLite and PostgreSQL: how they are opened, begin, and let one writer in at a time (ADR 17)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import StaticPool

from fleet.errors import StoreError

#: Execution option of a transaction that writes.
WRITES = "reram_fleet_writes"
#: How long a writer waits for another one.
BUSY_TIMEOUT_MS = 20_000
#: A writer of another machine that stands still between two statements gives way, before those who wait give up.
IDLE_WRITER_TIMEOUT_MS = 15_000
#: A server that is cut off is given up in seconds, not when TCP does.
CONNECT: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_FORMS = "it is sqlite:////absolute/path or postgresql://USER@HOST:PORT/DATABASE"

_PASSWORDS = "it stands before the @, or in the file that PGPASSFILE names"


def parse_url(text: str) -> URL:
    """Return a database address; `StoreError` if it is none that a fleet can be kept at. Its text is never shown."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The error quotes it, password and all.
        raise StoreError("this is not a database address", hint=_FORMS) from None
    if "password" in url.query:
        raise StoreError("a password among the options of an address is not kept secret", hint=_PASSWORDS)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StoreError(f"a fleet is not kept in {url.drivername}", hint=_FORMS)
    return url


def is_memory(url: URL) -> bool:
    """Whether an address is of a database that lives as long as its one connection."""
    return url.drivername == "sqlite" and url.database in (None, "", ":memory:")


def make_engine(url: URL, *, read_only: bool = False) -> Engine:
    """Return the engine of an address; a SQLite file is made, so that only its owner reads it.

    If it is only read, nothing is made: `StoreError` if the file is not there.
    """
    if url.drivername != "sqlite":
        return _postgresql(url, read_only)
    if read_only:
        engine = create_engine(_left_as_it_is(url))
    elif is_memory(url):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        _make_private(str(url.database))
        engine = create_engine(url)
    _configure_sqlite(engine, read_only)
    return engine


def _left_as_it_is(url: URL) -> URL:
    """Return the address of a SQLite file that is read, and by which no file beside it is made."""
    path = str(url.database)
    if not os.path.isfile(path):
        raise StoreError(f"there is no database {path}")
    options = {"mode": "ro", "uri": "true"}
    if not os.path.exists(f"{path}-wal"):
        # Nobody has it open, or the WAL would be there: without this, reading would make one.
        options["immutable"] = "1"
    return url.set(database=f"file:{quote(path)}", query=options)


def _make_private(database: str) -> None:
    """Make the file, if it is not there, and let only its owner read it; SQLite's WAL takes its mode."""
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for path in (database, f"{database}-wal", f"{database}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the database {database}: {error.strerror or error}", hint="check the path and its permissions"
        ) from error


def _configure_sqlite(engine: Engine, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # sqlite3 would begin transactions by itself, late and DEFERRED: two writers could then deadlock.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if not read_only:
            cursor.execute("PRAGMA journal_mode = WAL")
            # A receipt that was acknowledged must survive a power cut.
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            # Deleted rows are overwritten; their keys are gone as well, this is the second line.
            cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _postgresql(url: URL, read_only: bool) -> Engine:
    try:
        engine = create_engine(
            url,
            # Each statement of a writer sees what the writer before it has committed.
            isolation_level="READ COMMITTED",
            # A server that was started anew costs a connection, not a transaction.
            pool_pre_ping=True,
            connect_args=dict(CONNECT),
            execution_options={"postgresql_readonly": True} if read_only else {},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"PostgreSQL needs {error.name}, which is not installed", hint="pip install 'reram-fleet[postgres]'"
        ) from error

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
            # A receipt that was acknowledged must survive a power cut; stronger settings are the operator's.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITES, False):
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_WRITER_TIMEOUT_MS}")

    return engine


def prepare_migration(connection: Connection) -> None:
    """Let one process migrate at a time; `StoreError` if the database sorts text otherwise than Python does."""
    if connection.dialect.name == "sqlite":
        return
    # Before there is a row that writers lock.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('reram_fleet'))"))
    if not _sorts_by_code_point(connection):
        raise StoreError(_LANGUAGE, hint="make it with: createdb --template=template0 --encoding=UTF8 --locale=C NAME")


_LANGUAGE = "this PostgreSQL database sorts text by the rules of a language"


def _sorts_by_code_point(connection: Connection) -> bool:
    return bool(connection.execute(text("SELECT 'B' < 'a' AND 'a-b' < 'ab'")).scalar_one())


def complaints(connection: Connection) -> list[str]:
    """Return what a database has against itself, or what of its settings a fleet cannot bear."""
    if connection.dialect.name == "sqlite":
        found: Sequence[str] = connection.execute(text("PRAGMA integrity_check(5)")).scalars().all()
        orphans = [f"{row[0]} refers to a {row[2]} that is not there" for row in _orphans(connection)]
        return [line for line in found if line != "ok"] + orphans
    off = [
        f"{name} is off: what was acknowledged does not survive a power cut"
        for name in ("fsync", "full_page_writes")
        if connection.execute(text(f"SHOW {name}")).scalar_one() == "off"
    ]
    return [*off, *([] if _sorts_by_code_point(connection) else [_LANGUAGE])]


def _orphans(connection: Connection) -> Sequence[Any]:
    return connection.execute(text("PRAGMA foreign_key_check")).fetchmany(5)
