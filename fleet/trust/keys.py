"""Private keys and bearer tokens of the coordinator: files of mode 0600 in a folder of mode 0700, or held elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.crypto import bearer, sealing, signing
from reram_fleet.crypto.key_store import read_private
from reram_fleet.processes.durable import write_folder_atomically
from reram_fleet.v1.types_pb2 import Envelope, Sealed

from fleet.errors import KeyFileError


def _read_token(path: Path) -> str:
    try:
        return bearer.check_token(read_private(path))
    except bearer.TokenError as error:
        raise KeyFileError(f"{path} opens nothing: {error}", hint=f"bring {path.name} back from a backup") from error


class Signer(Protocol):
    """Holder of the private keys of a coordinator: this process, or an HSM or another process that answers for it."""

    @property
    def command_public_key(self) -> bytes:
        """Raw Ed25519 public key (32 bytes) of what is signed."""

    @property
    def sealing_public_key(self) -> bytes:
        """Raw X25519 public key (32 bytes) that nodes seal to."""

    def sign(self, message: Message) -> Envelope:
        """Sign a message: a forget command, lease, job ticket, revision manifest or audit event."""

    def sign_payload(self, payload_type: str, payload: bytes) -> bytes:
        """Return the signature of what is no message: a certificate's (`signing.pae`)."""

    def open(self, purpose: str, sealed: Sealed) -> bytes:
        """Open what was sealed to this coordinator; raises `reram_fleet.crypto.sealing.SealError`."""


@dataclass(frozen=True, repr=False)
class PrivateKeys:
    """Private keys of a coordinator in this process: a `Signer`."""

    #: Signs forget commands, leases, job tickets, revision manifests and certificates.
    command_key: Ed25519PrivateKey
    #: Opens contributions.
    sealing_key: X25519PrivateKey

    @classmethod
    def drawn(cls, draw: Callable[[int], bytes] = os.urandom) -> Self:
        """Return keys that no file has."""
        command, seal = draw(sealing.KEY_BYTES), draw(sealing.KEY_BYTES)
        return cls(Ed25519PrivateKey.from_private_bytes(command), X25519PrivateKey.from_private_bytes(seal))

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

    def sign_payload(self, payload_type: str, payload: bytes) -> bytes:
        """Sign with the command key what is no message."""
        return self.command_key.sign(signing.pae(payload_type, payload))

    def open(self, purpose: str, sealed: Sealed) -> bytes:
        """Open what was sealed to this coordinator; raises `reram_fleet.crypto.sealing.SealError`."""
        return sealing.open_sealed(self.sealing_key, purpose, sealed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(command={signing.key_id(self.command_public_key)[:12]})"


@dataclass(frozen=True, repr=False)
class CoordinatorKeys(PrivateKeys):
    """Key files and tokens that make a coordinator the coordinator of its fleet."""

    #: The files in the folder. Made together at the first start, never again.
    FILES: ClassVar = ("command.key", "sealing.key", "operator.token", "learning.token")

    #: Bearer tokens of OperatorService and LearningService.
    operator_token: str
    learning_token: str

    @classmethod
    def load_or_create(cls, folder: Path) -> CoordinatorKeys:
        """Return the keys in a folder; an empty or absent one gets new keys, all or none.

        `KeyMissingError` if only some of them are there; `KeyFileError` if a file is malformed or readable by others.
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
            Ed25519PrivateKey.from_private_bytes(read_private(command, sealing.KEY_BYTES)),
            X25519PrivateKey.from_private_bytes(read_private(seal, sealing.KEY_BYTES)),
            _read_token(operator),
            _read_token(learning),
        )
