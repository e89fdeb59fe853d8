"""Adapters at rest: one encrypted file each, under a key of its own whose destruction erases it.

A file is ``RFADAPT1``, the 16 bytes that name its key, and the safetensors file encrypted with
ChaCha20-Poly1305. Every save takes a new key and destroys the old one: an older version that the medium
still holds somewhere, which may know a person that the new one has forgotten, can then not be read. The
node, the adapter's name and the key are bound to the ciphertext, so that a file put in another's place does
not open.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.crypto import sealing
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.processes.durable import destroy, write_atomically

from edge_node.errors import AdapterFileError, AdapterSealError, AdapterSpecError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange.file_format import decode_adapter, encode_adapter, largest_file_bytes
from fleet.lab.lora.adapter import LoraAdapter

_MAGIC = b"RFADAPT1"
_KEY_ID_BYTES = 16
_HEAD_BYTES = len(_MAGIC) + _KEY_ID_BYTES
#: Nonce and tag of the encryption.
_SEAL_BYTES = 12 + 16
_SUFFIX = ".adapter"


@dataclass(frozen=True)
class AdapterFiles:
    """The adapter files of one node.

    Attributes
    ----------
    folder
        Where they are, for nothing else; made (0700) when the first is saved.
    keys
        Their keys, one per file and version; for nothing else.
    node_id
        Bound to every file.
    """

    folder: Path
    keys: KeyStore
    node_id: str

    def names(self) -> tuple[str, ...]:
        """Return the names of the saved adapters, sorted."""
        return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in self._paths()))

    def save_adapter(self, adapter: LoraAdapter) -> None:
        """Write or replace an adapter's file, durably; then the older version's key is gone.

        A crash leaves the old file or the new one, each with its key; `sweep` destroys what is left over.
        """
        path = self._path(adapter.spec.name)
        key_id = secrets.token_bytes(_KEY_ID_BYTES)
        key = self.keys.get_or_create(key_id.hex())
        sealed = sealing.seal_symmetric(key, self._purpose(adapter.spec.name, key_id), encode_adapter(adapter))
        older = _key_id_of(path)
        write_atomically(path, _MAGIC + key_id + sealed)
        if older is not None:
            self.keys.destroy(older)

    def load_adapter(self, name: str, base: FrozenBase, *, oldest_generation: int = 0) -> LoraAdapter:
        """Read an adapter that fits a network.

        Parameters
        ----------
        name
            Of the adapter.
        base, oldest_generation
            As for `decode_adapter`.

        Raises
        ------
        AdapterFileError
            If there is none, or it is no adapter file, truncated, too long, lying or damaged.
        KeyFileError
            If its key has been destroyed.
        AdapterSealError
            If it does not open: it was changed, or is another node's or another adapter's.
        AdapterError
            As `decode_adapter`, if what is inside is refused.
        """
        path = self._path(name)
        limit = _HEAD_BYTES + _SEAL_BYTES + largest_file_bytes(base)
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise AdapterFileError(
                f"there is no adapter {name} on this node; there are: {', '.join(self.names()) or 'none'}"
            ) from None
        if len(content) > limit:
            raise AdapterFileError(f"adapter file {path.name} is larger than {limit} bytes, the most expected")
        key_id = _key_id(content)
        if key_id is None or len(content) < _HEAD_BYTES + _SEAL_BYTES:
            raise AdapterFileError(
                f"{path.name} is no adapter file: expected {_MAGIC.decode()}, a key's name and at least "
                f"{_SEAL_BYTES} bytes of ciphertext; got {len(content)} bytes that begin with {content[:8]!r}"
            )
        key = self.keys.get(key_id.hex())
        try:
            plain = sealing.open_symmetric(key, self._purpose(name, key_id), content[_HEAD_BYTES:])
        except sealing.SealError as error:
            raise AdapterSealError(
                f"adapter file {path.name} does not open: it was changed, cut, or sealed under another key, "
                "name or node; restore it from the coordinator"
            ) from error
        adapter = decode_adapter(plain, base, oldest_generation=oldest_generation)
        if adapter.spec.name != name:
            raise AdapterFileError(
                f"adapter file {path.name} holds another adapter: expected {name}, got {adapter.spec.name}"
            )
        return adapter

    def destroy_adapter(self, name: str) -> bool:
        """Erase an adapter: its key first, then its file; False if there was no file."""
        path = self._path(name)
        if (key_id := _key_id_of(path)) is not None:
            self.keys.destroy(key_id)
        return destroy(path)

    def sweep(self) -> int:
        """Destroy what crashes left: keys of no file, files without a key, half-written files; count them."""
        for path in self.folder.glob(".*"):
            destroy(path)
        self.keys.sweep_leftovers()
        files = {path: _key_id_of(path) for path in self._paths()}
        held = self.keys.ids()
        orphans = held - set(files.values())
        unreadable = [path for path, key_id in files.items() if key_id not in held]
        for key_id in orphans:
            self.keys.destroy(key_id)
        for path in unreadable:
            destroy(path)
        return len(orphans) + len(unreadable)

    def _paths(self) -> list[Path]:
        return list(self.folder.glob(f"*{_SUFFIX}"))

    def _path(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise AdapterSpecError(f"{name[:80]!r} cannot name an adapter file")
        return self.folder / f"{name}{_SUFFIX}"

    def _purpose(self, name: str, key_id: bytes) -> str:
        return f"reram-fleet/node-adapter/{self.node_id}/{name}/{key_id.hex()}"


def _key_id(content: bytes) -> bytes | None:
    if len(content) < _HEAD_BYTES or not content.startswith(_MAGIC):
        return None
    return content[len(_MAGIC) : _HEAD_BYTES]


def _key_id_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            key_id = _key_id(file.read(_HEAD_BYTES))
    except FileNotFoundError:
        return None
    return None if key_id is None else key_id.hex()
