"""Private keys of the coordinator, and keys that are destroyed to erase.

All of them are files of mode 0600 in a folder of mode 0700, and durable before they are used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.crypto import bearer, sealing, signing
from reram_fleet.processes.durable import destroy, write_atomically, write_folder_atomically
from reram_fleet.v1.types_pb2 import Envelope, Sealed

from fleet.errors import ConflictError, InvalidInputError, KeyFileError, NotFoundError

_KEY_BYTES = sealing.KEY_BYTES
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read; whole and durable, or not there.

    Raises
    ------
    ConflictError
        If there is one already: a key that is written over is lost.
    """
    if path.exists():
        raise ConflictError(f"{path} exists already", hint="keys are never written over: move it away first")
    write_atomically(path, content, 0o600)


def read_private(path: Path) -> bytes:
    """Return the content of a private file.

    Raises
    ------
    NotFoundError
        If there is none.
    KeyFileError
        If others than its owner may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read()
    except FileNotFoundError:
        raise NotFoundError(f"no key file {path}") from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror or error}") from error
    if mode & 0o077:
        raise KeyFileError(f"{path} has mode {mode:04o}, expected 0600", hint=f"chmod 600 {path}")
    return content


def _load(path: Path, size: int) -> bytes:
    content = read_private(path)
    if len(content) != size:
        raise KeyFileError(f"{path} holds {len(content)} bytes, expected {size}")
    return content


def _read_token(path: Path) -> str:
    try:
        return bearer.check_token(read_private(path))
    except bearer.TokenError as error:
        raise KeyFileError(f"{path} opens nothing: {error}", hint=f"bring {path.name} back from a backup") from error


@dataclass(frozen=True, repr=False)
class CoordinatorKeys:
    """What makes a coordinator the coordinator of its fleet.

    Attributes
    ----------
    command_key
        Ed25519: signs forget commands, leases, job tickets, revision manifests and certificates.
    sealing_key
        X25519: opens contributions.
    operator_token, learning_token
        Bearer tokens of OperatorService and LearningService.
    token_path, learning_token_path
        Their files, for clients on this machine.
    """

    #: The files in the folder. Made together at the first start, never again.
    FILES: ClassVar = ("command.key", "sealing.key", "operator.token", "learning.token")

    command_key: Ed25519PrivateKey
    sealing_key: X25519PrivateKey
    operator_token: str
    learning_token: str
    token_path: Path
    learning_token_path: Path

    @classmethod
    def load_or_create(cls, folder: Path) -> CoordinatorKeys:
        """Return the keys in a folder; an empty or absent one gets new keys, all or none.

        Raises
        ------
        NotFoundError
            If only some of them are there.
        KeyFileError
            If a file is malformed or readable by others.
        """
        if not any((folder / name).exists() for name in cls.FILES):
            fresh = {
                "command.key": Ed25519PrivateKey.generate().private_bytes_raw(),
                "sealing.key": X25519PrivateKey.generate().private_bytes_raw(),
                "operator.token": bearer.new_token().encode(),
                "learning.token": bearer.new_token().encode(),
            }
            try:
                write_folder_atomically(folder, fresh)
            except OSError as error:
                raise KeyFileError(f"cannot make keys in {folder}: {error.strerror or error}") from error
        command, seal, operator, learning = (folder / name for name in cls.FILES)
        return cls(
            Ed25519PrivateKey.from_private_bytes(_load(command, _KEY_BYTES)),
            X25519PrivateKey.from_private_bytes(_load(seal, _KEY_BYTES)),
            _read_token(operator),
            _read_token(learning),
            operator,
            learning,
        )

    @property
    def command_public_key(self) -> bytes:
        """Raw Ed25519 public key (32 bytes)."""
        return self.command_key.public_key().public_bytes_raw()

    @property
    def sealing_public_key(self) -> bytes:
        """Raw X25519 public key (32 bytes)."""
        return self.sealing_key.public_key().public_bytes_raw()

    def sign(self, message: Message) -> Envelope:
        """Sign a message with the command key."""
        return signing.sign(self.command_key, message)

    def open(self, purpose: str, sealed: Sealed) -> bytes:
        """Open what was sealed to this coordinator; raises `reram_fleet.crypto.sealing.SealError`."""
        return sealing.open_sealed(self.sealing_key, purpose, sealed)

    def __repr__(self) -> str:
        return f"CoordinatorKeys(command={signing.key_id(self.command_public_key)[:12]})"


class SubjectKeys:
    """One symmetric key per id, one file per key: destroying the file erases what is encrypted under it.

    Ids are subject tags, or what else must be erasable for itself (``revision-7``, a job id).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, key_id: str) -> bytes:
        """Make a key (32 bytes); `ConflictError` if there is one of this id."""
        key = sealing.new_key()
        write_private(self._path(key_id), key)
        return key

    def get(self, key_id: str) -> bytes:
        """Return a key.

        Raises
        ------
        NotFoundError
            If it was destroyed, or never made: what is encrypted under it is gone.
        KeyFileError
            If the file is malformed or readable by others.
        """
        key = read_private(self._path(key_id))
        if len(key) != _KEY_BYTES:
            raise KeyFileError(f"the key file of {key_id} holds {len(key)} bytes, expected {_KEY_BYTES}")
        return key

    def get_or_create(self, key_id: str) -> bytes:
        """Return a key, made if there is none. The caller checks first that the id was not forgotten."""
        return self.get(key_id) if self.exists(key_id) else self.create(key_id)

    def exists(self, key_id: str) -> bool:
        """Whether the key is there."""
        return self._path(key_id).exists()

    def ids(self) -> list[str]:
        """Return the ids of all keys, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.key"))

    def destroy(self, key_id: str) -> bool:
        """Destroy a key; returns whether there was one. Durable on return, and safe to repeat.

        The file is overwritten before it is unlinked. Flash may keep the old block until its controller
        reuses it: the folder belongs on an encrypted disk, as the certificate's limits say.
        """
        return destroy(self._path(key_id))

    def _path(self, key_id: str) -> Path:
        if not _KEY_ID.fullmatch(key_id):
            raise InvalidInputError(f"{key_id[:40]!r} is not a key id: 1 to 128 of A-Z, a-z, 0-9, '_', '-'")
        return self._folder / f"{key_id}.key"
