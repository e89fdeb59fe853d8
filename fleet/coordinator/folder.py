"""State folder of a coordinator: made whole at the first start, and never made anew in part.

A new command key, or an empty database beside nodes that have joined, is another fleet that looks like the
old one: its nodes refuse it, its certificates mean nothing, and what was forgotten is no longer known.
"""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

from fleet.config import SERVE_FILE, ConfigError
from fleet.errors import StoreError
from fleet.trust.keys import CoordinatorKeys

logger = logging.getLogger(__name__)

_OTHERS = 0o077


class IncompleteFolderError(StoreError):
    """A coordinator has served from this folder, and something of it is gone."""


class CoordinatorFolder:
    """Paths inside the folder (0700; every file 0600), and whether a fleet lives there.

    `database` is the address of a database elsewhere.
    """

    def __init__(self, root: Path, database: str | None = None) -> None:
        self.root = root
        #: Folder of the coordinator's own keys and tokens.
        self.keys = root / "keys"
        #: Files of the bearer tokens, for clients on this machine.
        self.operator_token, self.learning_token = self.keys / "operator.token", self.keys / "learning.token"
        #: Folder of the keys that are destroyed to erase.
        self.secrets = root / "secrets"
        #: Its own authority and TLS certificate; and the authority that clients of this machine check it with.
        self.tls, self.ca = root / "tls", root / "ca.pem"
        #: The SQLite file; None if the database is elsewhere.
        self.database = None if database else root / "fleet.db"
        #: Address of the database; a password may stand in it.
        self.database_url = database or f"sqlite:///{self.database}"
        #: Held by the process that serves.
        self.lock = root / "serve.lock"
        #: The gRPC port, kept since nodes carry it.
        self.port = root / "serve.port"
        # Written last at the first start: a crash before leaves a folder that may still start over.
        self._made = root / "fleet.made"

    def create(self) -> None:
        """Make the folder, or tighten it so that only its owner reads it.

        Raises `ConfigError` if it can be neither made nor tightened.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = stat.S_IMODE(self.root.stat().st_mode)
            if mode & _OTHERS:
                self.root.chmod(0o700)
                logger.warning("%s had mode %04o: tightened to 0700", self.root, mode)
        except OSError as error:
            raise ConfigError(
                f"{self.root} cannot be a state folder: {error.strerror or error}", hint="--state names another folder"
            ) from error

    def check(self) -> None:
        """Refuse a folder that has lost its database or a key; nothing is made.

        Raises `IncompleteFolderError` with what is missing, and what to do.
        """
        keys = [self.keys / name for name in CoordinatorKeys.FILES]
        needed = [*([self.database] if self.database else []), *keys]
        missing = [path for path in needed if not path.exists()]
        if self._made.exists() and self.database and self.database not in missing and not self.database.stat().st_size:
            missing.append(self.database)
        if not missing:
            return
        present = [path for path in needed if path not in missing]
        # All keys and no database is what a crash of the very first start leaves.
        if not self._has_served() and present in ([], keys):
            return
        names = ", ".join(str(path.relative_to(self.root)) for path in missing)
        raise IncompleteFolderError(
            f"{self.root} holds a fleet, but {names} {'is' if len(missing) == 1 else 'are'} missing or "
            "empty; nothing was changed",
            hint="`fleet admin restore` brings it back from a backup; or start a new fleet in another folder "
            "(--state) and let its nodes join anew; a database that is elsewhere is named by --database",
        )

    def has_fleet(self) -> bool:
        """Whether a first start has been completed here."""
        return self._made.exists()

    def note_made(self) -> None:
        """Remember that keys and database are there: from now on, what is missing was lost."""
        if not self.has_fleet():
            write_atomically(self._made, b"")

    def _has_served(self) -> bool:
        traces = (self._made, self.port, self.root / SERVE_FILE, self.root / "flower")
        return any(path.exists() for path in traces) or any(self.secrets.glob("*.key"))
