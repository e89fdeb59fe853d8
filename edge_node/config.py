"""State folder of a node: the only place that knows the names of the files in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from google.protobuf import json_format
from reram_fleet.crypto import bearer
from reram_fleet.crypto.key_store import read_private
from reram_fleet.processes.durable import locked, write_atomically
from reram_fleet.processes.unix_socket import is_unix
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.errors import StateFolderError


class StateFolder:
    """Paths inside one node's folder (0700; every file 0600)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: The node's own keys.
        self.keys = root / "keys"
        #: Private key of its SuperNode, which reads it from this file.
        self.flower_key = self.keys / "flower.key"
        #: One key file per subject tag, and one per stored revision.
        self.subject_keys, self.revision_keys = root / "subject-keys", root / "revision-keys"
        #: The SQLite file.
        self.journal = root / "journal.db"
        #: Empty file, written when the journal had been made: from then on, a missing one is a lost one.
        self.journal_made = root / "journal.made"
        #: EnrollNodeResponse as JSON: what the coordinator told the node at `join`.
        self.enrollment = root / "enrollment.json"
        #: Unix socket of the EngineService, and the bearer token that opens it.
        self.engine_socket, self.engine_token = root / "engine.sock", root / "engine.token"
        #: Process id and addresses of the running daemon, for launchers.
        self.run = root / "run.json"
        #: What supervised processes write.
        self.logs = root / "logs"
        #: FLWR_HOME of the node's SuperNode, the CA certificate that it checks the SuperLink with, and its
        #: `--node-config` as a TOML file.
        self.flower = root / "flower"
        self.flower_ca, self.supernode_config = self.flower / "ca.pem", self.flower / "node.toml"

    def create(self) -> None:
        """Make the folder and its sub-folders, readable by their owner only."""
        for folder in (self.root, self.keys, self.subject_keys, self.revision_keys, self.flower, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def remains(self) -> list[str]:
        """Return what of a node is here, by names relative to the folder: its keys, journal and enrolment."""
        found = [*self.keys.glob("*"), *self.subject_keys.glob("*"), *self.revision_keys.glob("*")]
        found += [path for path in (self.journal, self.enrollment) if path.exists()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def check_journal(self) -> None:
        """Refuse a folder whose journal is lost; to be called before one is opened, and thereby made.

        `StateFolderError` if there was a journal here. A new one would not know who was forgotten.
        """
        keys = [*self.subject_keys.glob("*.key"), *self.revision_keys.glob("*.key")]
        if not self.journal.exists() and (self.journal_made.exists() or keys):
            raise StateFolderError(
                f"{self.journal} is missing, and this node had one: bring the folder back from a backup, or "
                "make a new node, with a new name, in another folder"
            )

    def note_journal_made(self) -> None:
        """Remember that there is a journal."""
        if not self.journal_made.exists():
            write_atomically(self.journal_made, b"")

    def save_enrollment(self, enrollment: EnrollNodeResponse) -> None:
        """Store what the coordinator answered to this node's registration.

        `StateFolderError` if it is incomplete, or the node already belongs to another fleet.
        """
        problems = [
            f"{name} is missing" for name in ("fleet_id", "node_service_address") if not getattr(enrollment, name)
        ]
        for name in ("command_public_key", "coordinator_sealing_public_key", "registry_public_key"):
            # A fleet that was told of no registry enrols nobody; the node may join it all the same.
            if len(key := getattr(enrollment, name)) != 32 and (key or name != "registry_public_key"):
                problems.append(f"{name} has {len(key)} bytes, expected 32")
        if _lacks_authority(enrollment):
            problems.append("coordinator_ca_pem is missing: the coordinator is of an earlier version")
        if problems:
            raise StateFolderError(f"this enrollment cannot be used: {', '.join(problems)}")
        if self.enrollment.exists():
            present = self._read_enrollment()
            # Another key would let another coordinator erase or resurrect: that takes a fresh node.
            if (present.fleet_id, present.command_public_key) != (enrollment.fleet_id, enrollment.command_public_key):
                raise StateFolderError(
                    f"this node belongs to fleet {present.fleet_id} under another command key; "
                    f"to join {enrollment.fleet_id}, make a node in a new state folder"
                )
            if present.registry_public_key not in (b"", enrollment.registry_public_key):
                raise StateFolderError(
                    "this node enrols people on tickets of another registry key, which it has pinned: "
                    "restore that registry's key file, or make a node in a new state folder"
                )
        write_atomically(self.enrollment, json_format.MessageToJson(enrollment).encode())

    def load_enrollment(self) -> EnrollNodeResponse:
        """Return what `save_enrollment` stored.

        `StateFolderError` if the node has not joined a fleet, or before coordinators had TLS, or the file is damaged.
        """
        found = self._read_enrollment()
        if _lacks_authority(found):
            raise StateFolderError(
                "this node joined its fleet before coordinators had TLS, and cannot tell its own from another: join "
                f"again (`fleet node enroll` with the same identity, then edge-node join --state {self.root})"
            )
        return found

    def _read_enrollment(self) -> EnrollNodeResponse:
        try:
            return json_format.Parse(self.enrollment.read_text(), EnrollNodeResponse())
        except FileNotFoundError:
            raise StateFolderError(
                f"this node has not joined a fleet; run: edge-node join --state {self.root} ENROLLMENT.json"
            ) from None
        except json_format.ParseError as error:
            raise StateFolderError(f"{self.enrollment.name} is damaged ({error}); join again") from None

    def load_or_create_engine_token(self) -> str:
        """Return the token that callers of the EngineService must send.

        `KeyFileError` if others can read the file, `StateFolderError` if it holds nothing that may open an engine.
        """
        if not self.engine_token.exists():
            write_atomically(self.engine_token, bearer.new_token().encode())
        try:
            return bearer.check_token(read_private(self.engine_token))
        except bearer.TokenError as error:
            raise StateFolderError(
                f"{self.engine_token} opens nothing: {error}; remove it, and the next start makes a new one"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: two daemons on one journal would each believe to be the node.

        `StateFolderError` if another process holds it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.root / "lock", wait=False))
            except BlockingIOError:
                raise StateFolderError(
                    f"another edge-node runs on {self.root}; end it first (its pid is in {self.run.name})"
                ) from None
            yield


def _lacks_authority(enrollment: EnrollNodeResponse) -> bool:
    """Whether nothing vouches for the coordinator's address."""
    return not enrollment.coordinator_ca_pem and not is_unix(enrollment.node_service_address)
