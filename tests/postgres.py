"""A PostgreSQL server of the test session: started once, shared by all its processes, gone with the last of them.

It is Debian's, or the one whose programs `FLEET_TEST_PG_BIN` names. Its files lie in a temporary folder, and it listens
on a Unix socket there; it does not fsync, since no test pulls the plug.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

#: A database in which every table is made: copying it is quicker than migrating.
MIGRATED = "migrated"
#: Who runs the server when we are root, which it refuses.
_SERVER_USER = "postgres"

# Ends the server when no process holds the lock file any more; if this script is killed, the kernel does.
_GUARD = """
setpriv --pdeathsig=INT -- "$@" & server=$!
flock --exclusive "$FOLDER/users" rm -f "$FOLDER/ready"
kill -INT $server; wait $server; rm -rf "$FOLDER" "$FOLDER.lock"
"""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None if it is not installed."""
    if named := os.environ.get("FLEET_TEST_PG_BIN"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def server_command(data: Path, programs: Path) -> list[str]:
    """Make the files of a server, and return the command that runs it; it listens on a socket among them only."""
    data.mkdir(mode=0o700)
    user = pwd.getpwuid(os.geteuid()).pw_name
    become: list[str] = []
    if os.geteuid() == 0:
        user = _SERVER_USER
        shutil.chown(data, _SERVER_USER)
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    initdb = [*become, str(programs / "initdb"), "--pgdata", str(data), "--auth=trust", "--username=fleet"]
    subprocess.run(
        [*initdb, "--encoding=UTF8", "--locale=C", "--no-sync"], check=True, cwd="/", stdout=subprocess.DEVNULL
    )
    server = [*become, str(programs / "postgres"), "-D", str(data), "-k", str(data)]
    for setting in ("listen_addresses=", "shared_buffers=32MB"):
        server += ["-c", setting]
    return server


class PostgresServer:
    """The server, for as long as this process lives."""

    def __init__(self, programs: Path) -> None:
        # xdist tells its processes which run they belong to.
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
        self.programs = programs
        self._folder = Path(tempfile.gettempdir()) / f"reram-fleet-postgres-{run[:16]}"
        with self._alone():
            self._folder.mkdir(mode=0o755, exist_ok=True)
            self._users = os.open(self._folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not (self._folder / "ready").exists():
                self._start()
                (self._folder / "ready").touch()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._folder.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        data = self._folder / "data"
        server = server_command(data, self.programs)
        for setting in ("fsync=off", "full_page_writes=off"):
            server += ["-c", setting]
        with (self._folder / "server.log").open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _GUARD, "guard", *server],
                check=True,
                env={**os.environ, "FOLDER": str(self._folder)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            try:
                self._connect("postgres").close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError((self._folder / "server.log").read_text())

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._folder / "data"), user="fleet", dbname=database, autocommit=True, connect_timeout=10
        )

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql+psycopg://fleet@/{database}?host={self._folder / 'data'}"

    def _make_migrated(self) -> None:
        """Make the database that others are copied from, if there is none yet."""
        from fleet.store import Store

        with self._alone(), self._connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [MIGRATED]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(MIGRATED)))
                Store.open(self.url(MIGRATED)).close()

    @contextmanager
    def database(self, copied: str | None = None, *, options: LiteralString | None = None) -> Iterator[str]:
        """Make a database for a test, and yield its address.

        It is a copy of another one, whose address is `copied`; or empty, with `options` of CREATE DATABASE; or every
        table is in it.
        """
        name = f"test_{secrets.token_hex(8)}"
        template = MIGRATED if copied is None else str(make_url(copied).database)
        if options is not None:
            template = "template0"
        elif copied is None:
            self._make_migrated()
        with self._connect("postgres") as connection:
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {} " + (options or ""))
            connection.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
            try:
                yield self.url(name)
            finally:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
