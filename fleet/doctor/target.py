"""Coordinator that is examined: what is known of it before anything is checked."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from reram_fleet.v1.operator_pb2 import Forget, GetFleetResponse, Node

from fleet.client import LARGEST_PAGE, FleetClient, UnavailableError
from fleet.config import ConfigError, Connection, Context, NoCoordinatorError, Served, read_serve_file
from fleet.coordinator.folder import CoordinatorFolder
from fleet.errors import FleetError
from fleet.store.database import Store, Transaction, wall_clock_ms


@dataclass(frozen=True)
class Answer:
    """Answer of a coordinator about its fleet."""

    fleet: GetFleetResponse
    nodes: Sequence[Node]
    forgets: Sequence[Forget]
    #: Clock of this machine (Unix ms) before the first call, and after it.
    asked_ms: int
    answered_ms: int


@dataclass(frozen=True)
class Target:
    """A coordinator: its folder if that is on this machine, its process, and what it answers."""

    #: None if it runs elsewhere.
    folder: CoordinatorFolder | None = None
    #: What it wrote about itself when it was ready.
    served: Served | None = None
    address: str | None = None
    token_file: Path | None = None
    #: Certificate of the authority that vouches for it.
    ca_file: Path | None = None
    process: psutil.Process | None = None
    #: Who listens at its address, if that is another process than the coordinator's.
    stranger: str = ""
    answer: Answer | None = None
    #: Why it does not answer.
    silence: FleetError | None = None
    #: Address of the Prometheus that scrapes it.
    prometheus: str | None = None
    #: The caller's map of people to tags, if it is here.
    registry: Path | None = None

    @classmethod
    def find(cls, context: Context, folder: CoordinatorFolder | None, prometheus: str | None = None) -> Target:
        """Return the coordinator of a folder, or of the address in the context, and ask it how its fleet is.

        It is not asked if another process listens at its address: the operator's token would go there.
        """
        served = process = answer = None
        silence: FleetError | None = None
        address, token_file, ca_file, registry = context.address, context.token_file, context.ca, context.registry
        if folder is not None:
            try:
                served = read_serve_file(folder.root)
            except NoCoordinatorError:
                pass
            except ConfigError as error:
                silence = error
        if served is not None:
            address, token_file = address or served.address, token_file or served.token_file
            ca_file = ca_file or served.ca_file
            process = _serving(served)
        stranger = _stranger(address, process) if served is not None and address == served.address else ""
        if process is not None and stands_still(process):
            silence = UnavailableError(
                f"the coordinator (process {process.pid}) was stopped, and stands still",
                hint=f"kill -CONT {process.pid}",
            )
        elif address is not None and token_file is not None and not stranger and (served is None or process):
            try:
                answer = _ask(Connection.trusted(address, token_file, ca_file))
            except FleetError as error:
                silence = error
        return cls(
            folder, served, address, token_file, ca_file, process, stranger, answer, silence, prometheus, registry
        )

    @contextmanager
    def rows(self) -> Iterator[Transaction]:
        """Read the database that the folder names; nothing in it or beside it is changed.

        `StoreError` if there is none.
        """
        with self.store() as store, store.snapshot() as tx:
            yield tx

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open that database."""
        assert self.folder is not None, "whoever reads rows has looked whether there is a folder"
        with Store.read_only(self.folder.database_url) as store:
            yield store


def _serving(served: Served) -> psutil.Process | None:
    """Return the process that wrote a `serve.json`; None if it has ended, and perhaps its id is somebody else's."""
    try:
        process = psutil.Process(served.pid)
        return process if "serve" in process.cmdline() else None
    except psutil.Error:
        return None


def stands_still(process: psutil.Process) -> bool:
    """Whether a process was stopped (SIGSTOP): it is there, and answers nobody."""
    return bool(process.status() == psutil.STATUS_STOPPED)


def _stranger(address: str | None, process: psutil.Process | None) -> str:
    """Return who listens at an address of this machine, if it is not the coordinator."""
    holder = listener(address or "")
    if holder is None or (process is not None and holder.may_be(process)):
        return ""
    return holder.name


#: Of sockets, in /proc/net/tcp.
_LISTENS = "0A"


@dataclass(frozen=True)
class Listener:
    """Process that listens at an address."""

    pid: int | None
    name: str
    #: Whose socket it is, if the kernel hides the process.
    user_id: int | None = None

    def may_be(self, process: psutil.Process) -> bool:
        """Whether it is a process; of one that is hidden, whether it is of the same user."""
        if self.pid is not None:
            return self.pid == process.pid
        return self.user_id is not None and self.user_id == process.uids().effective


def listener(address: str) -> Listener | None:
    """Return who listens at an address of this machine; None if nobody does."""
    host, _, port = address.rpartition(":")
    for each in psutil.net_connections("tcp"):
        if each.status != psutil.CONN_LISTEN or not each.laddr or str(each.laddr.port) != port:
            continue
        if each.laddr.ip in ("0.0.0.0", "::", *_addresses(host)):
            return _named(each.pid, each.laddr.port)
    return None


def _addresses(host: str) -> set[str]:
    """Return the addresses of a host; none if its name is not known here."""
    with suppress(OSError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), None)}
    return set()


def _named(pid: int | None, port: int) -> Listener:
    if pid is None:
        return _hidden(port)
    try:
        process = psutil.Process(pid)
        return Listener(pid, f"process {pid} ({process.name()}, user {process.username()})")
    except psutil.Error:
        return Listener(pid, f"process {pid}")


def _ask(where: Connection) -> Answer:
    with FleetClient.from_files(where.address, where.token_file, where.ca_file) as client:
        asked_ms = wall_clock_ms()
        fleet = client.get_fleet()
        answered_ms = wall_clock_ms()
        forgets = client.list_forgets(LARGEST_PAGE).items if fleet.forgets_open else ()
        unfinished = [each for each in forgets if each.state != "converged"]
        return Answer(fleet, client.list_nodes().items, unfinished, asked_ms, answered_ms)


def _hidden(port: int) -> Listener:
    # A coordinator hides its files from its own user, too (`keep_memory_private`), but whose a socket is anybody reads.
    users = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user_id, *_ = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    users.add(int(user_id))
    if len(users) != 1:
        return Listener(None, "a process of another user")
    (user,) = users
    return Listener(None, f"a process of user {user}", user)
