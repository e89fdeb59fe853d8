"""Database of the coordinator, and transactions over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, InternalError, OperationalError

from fleet.errors import ConflictError, InvalidInputError, StoreError
from fleet.store import schema
from fleet.store.cohorts import Cohorts
from fleet.store.commits import CommitAnnouncer, CommitListener
from fleet.store.copies import AllRows
from fleet.store.engines import WRITES, complaints, is_memory, make_engine, parse_url, prepare_migration
from fleet.store.fleet import Fleet
from fleet.store.forgets import Forgets
from fleet.store.heads import Heads
from fleet.store.leadership import Leadership
from fleet.store.learning import LearningJobs
from fleet.store.log import ForgetLog
from fleet.store.nodes import AuditEvents, Nodes
from fleet.store.receipts import Receipts
from fleet.store.repository import Scope
from fleet.store.revisions import Revisions
from fleet.store.schema_revision import known_revisions, migrate, note_newest, revision_of
from fleet.store.subjects import Subjects
from fleet.store.tallies import Tallies
from fleet.store.touched import Contacts, Touched
from fleet.store.tree import Tree


def wall_clock_ms() -> int:
    """Return the Unix time in ms."""
    return time.time_ns() // 1_000_000


class Transaction:
    """The repositories, over one database transaction, and the one time `now_ms` of everything that it writes."""

    def __init__(self, scope: Scope) -> None:
        self._scope, self.now_ms, self.touched = scope, scope.now_ms, scope.touched
        self.leadership = Leadership(scope)
        self.fleet = Fleet(scope)
        self.nodes = Nodes(scope)
        self.log = ForgetLog(scope)
        self.forgets = Forgets(scope)
        self.receipts = Receipts(scope)
        self.subjects = Subjects(scope)
        self.revisions = Revisions(scope)
        self.heads = Heads(scope)
        self.learning = LearningJobs(scope)
        self.cohorts = Cohorts(scope)
        self.tree = Tree(scope)
        self.audit_events = AuditEvents(scope)
        self.tallies = Tallies(scope)
        self.all_rows = AllRows(scope)

    def send(self) -> None:
        """Send what waits to be written."""
        self._scope.send()

    @property
    def wrote(self) -> set[str]:
        """Names of the tables that were written to."""
        return set(self._scope.wrote) - {""}

    @property
    def writes(self) -> int:
        """How often something was written so far."""
        return len(self._scope.wrote)


@dataclass(frozen=True)
class SchemaState:
    """Version of the tables in a database, beside that of the program."""

    #: Revision of the tables; None if there are none.
    revision: str | None
    newest: str
    #: Whether this program can bring that revision up to date.
    is_known: bool


class _RevisionError(Exception):
    """The tables are of a revision that cannot be used."""

    def __init__(self, state: SchemaState) -> None:
        super().__init__(f"its schema is of revision {state.revision or 'none'}, this version's is {state.newest}")


class Store:
    """The coordinator's database. Safe to use from several threads.

    Examples
    --------
    >>> with Store.open("sqlite:///fleet.db") as store, store.transaction() as tx:
    ...     tx.fleet.create("fleet-1")
    """

    def __init__(self, url: URL, now_ms: Callable[[], int], *, read_only: bool = False) -> None:
        self._url = url
        self._engine = make_engine(url, read_only=read_only)
        self._commits = CommitAnnouncer(self._engine)
        #: Clock of all that is decided over the store, Unix time.
        self.now_ms = now_ms
        #: Heartbeats and telemetry that are not written yet.
        self.contacts = Contacts()
        self._named: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        #: Called with what a transaction has changed once that is durable, in the thread that wrote it.
        self.on_commit: Callable[[Touched], None] = lambda touched: None
        # The database lets one writer in at a time; threads queue here instead of polling it.
        self._writer = threading.Lock()
        self._writer_thread: int | None = None
        #: Since `lead`.
        self._epoch: int | None = None
        # In memory there is one connection: whoever reads waits as well.
        self._one_connection = is_memory(url)
        self._readers = self._engine
        if self._engine.dialect.name == "postgresql":
            self._readers = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @classmethod
    def open(cls, url: str, *, now_ms: Callable[[], int] = wall_clock_ms, migrate: bool = True) -> Self:
        """Open the database, make its tables if they are not there, and bring its schema up to date.

        `StoreError` if it cannot be opened, or was written by a newer version.

        `url` is an SQLAlchemy address: ``sqlite:////var/lib/fleet/fleet.db``, ``postgresql+psycopg://user@host/fleet``,
        or ``sqlite://``, which lives in memory as long as the store; `now_ms` a clock, Unix time. Without `migrate`, a
        database of another version, or without tables, is refused and left as it is.
        """
        where = parse_url(url)
        store = cls(where, now_ms)
        try:
            store._migrate() if migrate else store._check_revision()
        except (DBAPIError, _RevisionError) as error:
            store.close()
            raise StoreError(
                f"cannot open {where.render_as_string(hide_password=True)}: {_reason(error)}",
                hint="check the address and its permissions, and that no newer version has written it",
            ) from error
        except StoreError:
            store.close()
            raise
        return store

    @classmethod
    def in_memory(cls, content: bytes, *, now_ms: Callable[[], int] = wall_clock_ms, epoch: int | None = None) -> Self:
        """Open a copy in memory of a database in memory: its `content`, and the `epoch` by which it led."""
        store = cls(parse_url("sqlite://"), now_ms)
        with store._engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.deserialize(content)
        store._epoch = epoch
        return store

    def content(self) -> bytes:
        """Return all that is in a database in memory, for `in_memory`."""
        with self._alone(), self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            return bytes(driver.serialize())

    @property
    def epoch(self) -> int | None:
        """Number by which it leads, since `lead`; None before."""
        return self._epoch

    @classmethod
    def read_only(cls, url: str) -> Self:
        """Look at a database of whatever version, and change nothing: no row, no table, no file.

        `StoreError` if there is none.
        """
        return cls(parse_url(url), wall_clock_ms, read_only=True)

    def _migrate(self) -> None:
        with self._writing() as connection:
            prepare_migration(connection)
            state = self._schema_state(connection)
            if state.revision is None:
                schema.create(connection)
                note_newest(connection)
            elif not state.is_known:
                raise _RevisionError(state)
            elif state.revision != state.newest:
                migrate(connection)

    def _check_revision(self) -> None:
        state = self.schema_state()
        if state.revision != state.newest:
            raise _RevisionError(state)

    def schema_state(self) -> SchemaState:
        """Return of which version the tables are."""
        with self._readers.connect() as connection:
            return self._schema_state(connection)

    @staticmethod
    def _schema_state(connection: Connection) -> SchemaState:
        revision, known = revision_of(connection), known_revisions()
        return SchemaState(revision, known[-1], revision is None or revision in known)

    def complaints(self) -> list[str]:
        """Return what the database has against itself, or what of its settings a fleet cannot bear."""
        try:
            with self._readers.connect() as connection:
                return complaints(connection)
        except DBAPIError as error:
            return [_reason(error)]

    def lead(self, holder: str) -> int:
        """Take the lead, and return its epoch: who led before cannot commit any more.

        `holder` says in the database who leads.
        """
        with self.transaction() as tx:
            epoch = tx.leadership.take(holder)
        self._epoch = epoch
        return epoch

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Read and write; commits at the end, rolls back on any exception.

        `ConflictError` if a constraint of the schema forbids the write; `InvalidInputError` if a column cannot hold it;
        `SupersededError` if this store led, and another leads now.
        """
        with self._alone(), _told(), self._writing() as connection:
            tx = self._begun(connection)
            self._commits.begin(connection)
            tx.leadership.check(self._epoch)
            yield tx
            tx.tallies.write()
            tx.send()
            tx.touched.wrote = tx.wrote
            self._commits.announce(connection)
        self.on_commit(tx.touched)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read only: one consistent view that waits for no writer. What is written in it is rolled back.

        In memory it does wait, and shows a writer nothing else.
        """
        alone = self._alone() if self._one_connection else nullcontext()
        with alone, _told(), self._readers.connect() as connection, connection.begin() as begun:
            yield self._begun(connection)
            begun.rollback()

    def _begun(self, connection: Connection) -> Transaction:
        return Transaction(Scope(connection, self.now_ms(), contacts=self.contacts, named=self._named))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the place of the one thread that writes."""
        if self._writer_thread == threading.get_ident():
            raise StoreError("a transaction is already open in this thread", hint="pass the transaction on")
        with self._writer:
            self._writer_thread = threading.get_ident()
            try:
                yield
            finally:
                self._writer_thread = None

    def others_commits(self) -> CommitListener:
        """Return who waits for commits of other processes."""
        return CommitListener(self._url, self._commits.name)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors of the database into ours."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(f"the database refused a write: {_reason(error)}") from error
    except DataError as error:
        raise InvalidInputError(f"the database cannot hold a value: {_reason(error)}") from error
    except (OperationalError, InternalError) as error:
        # A full disk, a lost mount or server, a lock that nobody gives back: not the caller's doing.
        raise StoreError(f"the database cannot be used now: {_reason(error)}") from error
    except DatabaseError as error:
        # SQLite has no class of its own for a file that is damaged; the classes that are left are mistakes of ours.
        if type(error) is not DatabaseError:
            raise
        raise StoreError(f"the database is damaged: {_reason(error)}", hint="fleet doctor") from error


def _reason(error: Exception) -> str:
    """Return the first line of an error: PostgreSQL's others quote the row."""
    return str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
