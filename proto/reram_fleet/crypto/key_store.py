"""Key files: private (0600, in a folder of mode 0700), durable before they are used, and destroyed to erase.

`KeyStore` is what its users see of them; `MemoryKeyStore` has the same keys without files.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.crypto import sealing
from reram_fleet.errors import ConflictError, InvalidInputError, KeyFileError, KeyMissingError
from reram_fleet.processes.durable import destroy, write_atomically

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def create_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read; whole and durable, or not there.

    `ConflictError` if there is one already: a key that is written over is lost.
    """
    if path.exists():
        raise ConflictError(f"{path} exists already", hint="keys are never written over: move it away first")
    write_atomically(path, content)


def read_private(path: Path, size: int | None = None) -> bytes:
    """Return the content of a private file, `size` bytes if given.

    `KeyMissingError` if there is none; `KeyFileError` if others than its owner may read it, or it has another size.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read()
    except FileNotFoundError:
        raise KeyMissingError(f"key file {path} is missing") from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror or error}") from error
    if mode & 0o077:
        raise KeyFileError(f"{path} has mode {mode:04o}, expected 0600: others can read it", hint=f"chmod 600 {path}")
    if size is not None and len(content) != size:
        raise KeyFileError(f"{path} holds {len(content)} bytes, expected {size}")
    return content


class KeyStore(ABC):
    """Symmetric keys of 32 bytes by id: destroying one erases what is encrypted under it.

    Ids are subject tags, or what else must be erasable for itself (``revision-7``, a job id); `InvalidInputError` if
    one is malformed.
    """

    @abstractmethod
    def create(self, key_id: str) -> bytes:
        """Make a key; `ConflictError` if there is one of this id."""

    @abstractmethod
    def get(self, key_id: str) -> bytes:
        """Return a key; `KeyMissingError` if there is none."""

    def get_or_create(self, key_id: str) -> bytes:
        """Return a key, made if there is none. The caller checks first that the id was not forgotten."""
        return self.get(key_id) if self.exists(key_id) else self.create(key_id)

    @abstractmethod
    def exists(self, key_id: str) -> bool:
        """Whether the key is there."""

    @abstractmethod
    def ids(self) -> set[str]:
        """Return the ids of all keys."""

    @abstractmethod
    def destroy(self, key_id: str) -> bool:
        """Destroy a key for good; False if it was gone already."""

    @abstractmethod
    def sweep_leftovers(self) -> None:
        """Destroy what a crash left of keys that were being made."""


@dataclass(frozen=True)
class FileKeyStore(KeyStore):
    """Folder of keys, one private file each.

    Destroying is for good only on an encrypted disk: `reram_fleet.processes.durable.destroy` says why.
    """

    folder: Path
    draw: Callable[[int], bytes] = os.urandom

    def create(self, key_id: str) -> bytes:
        """Make a key, durably; `ConflictError` if there is one of this id."""
        key = self.draw(sealing.KEY_BYTES)
        create_private(self._path(key_id), key)
        return key

    def get(self, key_id: str) -> bytes:
        """Return a key; raises as `read_private`."""
        return read_private(self._path(key_id), sealing.KEY_BYTES)

    def exists(self, key_id: str) -> bool:
        """Whether the key is there."""
        return self._path(key_id).exists()

    def ids(self) -> set[str]:
        """Return the ids of all keys."""
        return {path.stem for path in self.folder.glob("*.key")}

    def destroy(self, key_id: str) -> bool:
        """Overwrite and remove a key, durably; False if it was gone already."""
        return destroy(self._path(key_id))

    def sweep_leftovers(self) -> None:
        """Destroy half-written key files of a crash (`write_atomically` names them with a leading dot)."""
        for path in self.folder.glob(".*"):
            destroy(path)

    def _path(self, key_id: str) -> Path:
        return self.folder / f"{_checked(key_id)}.key"


class MemoryKeyStore(KeyStore):
    """Keys in memory: for tests and simulated fleets, which need no disk. `keys` are those that it begins with."""

    def __init__(self, keys: Mapping[str, bytes] | None = None, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._keys, self._draw = dict(keys or {}), draw

    def create(self, key_id: str) -> bytes:
        """Make a key; `ConflictError` if there is one of this id."""
        if self.exists(key_id):
            raise ConflictError(f"key {key_id} exists already", hint="keys are never written over: destroy it first")
        return self._keys.setdefault(key_id, self._draw(sealing.KEY_BYTES))

    def get(self, key_id: str) -> bytes:
        """Return a key; `KeyMissingError` if there is none."""
        if not self.exists(key_id):
            raise KeyMissingError(f"key {key_id} is missing")
        return self._keys[key_id]

    def exists(self, key_id: str) -> bool:
        """Whether the key is there."""
        return _checked(key_id) in self._keys

    def ids(self) -> set[str]:
        """Return the ids of all keys."""
        return set(self._keys)

    def destroy(self, key_id: str) -> bool:
        """Drop a key; False if it was gone already."""
        return self._keys.pop(_checked(key_id), None) is not None

    def sweep_leftovers(self) -> None:
        """Do nothing: no key is ever half there."""

    def copy(self) -> MemoryKeyStore:
        """Return a store of the same keys: a backup."""
        return MemoryKeyStore(self._keys, self._draw)


def _checked(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise InvalidInputError(f"{key_id[:40]!r} is not a key id: 1 to 128 of A-Z, a-z, 0-9, '_', '-'")
    return key_id
