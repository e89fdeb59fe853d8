"""Archive of a coordinator: one private file with its rows, its own keys, and what its nodes have pinned."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from reram_fleet.processes.durable import sync_folder

from fleet.errors import ConflictError, InvalidInputError, StoreError, reason_of

_FORMAT = 1
_MANIFEST = "manifest.json"
#: SQLite, whatever the fleet is kept in.
DATABASE = "fleet.db"
#: Files beside the database without which a coordinator is not the one that its nodes know.
BESIDE = ("keys/*", "canary.json", "serve.port", "tls/*", "flower/tls/*", "flower/*.port")
SECRETS = "secrets/*.key"


@dataclass(frozen=True)
class Manifest:
    """Description of an archive."""

    fleet_id: str
    generation: int
    made_at_ms: int
    #: Whether the keys are in it that forgets destroy.
    with_secrets: bool


@dataclass(frozen=True)
class Unpacked:
    """An archive that was read: its files, in a private folder, and keys by id, which no disk gets to see."""

    manifest: Manifest
    folder: Path
    secrets: Mapping[str, bytes]


def write_archive(output: Path, contents: Mapping[str, Path], manifest: Manifest) -> None:
    """Write an archive (0600), whole and durable or not at all, of files by their names in it.

    `ConflictError` if there is a file already; `StoreError` if it cannot be written.
    """
    if output.exists():
        raise ConflictError(f"{output} exists already", hint="a backup is never written over: choose another name")
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                    digests = {}
                    for name, path in contents.items():
                        with path.open("rb") as content:
                            digests[name] = _add(archive, name, content)
                    body = {"format": _FORMAT, **asdict(manifest), "files": digests}
                    _add(archive, _MANIFEST, io.BytesIO(json.dumps(body, indent=2).encode()))
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, output)
        finally:
            os.unlink(unfinished)
        sync_folder(output.parent)
    except OSError as error:
        raise StoreError(f"cannot write {output}: {error.strerror or error}") from error


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> str:
    """Add a file, and return its SHA-256."""
    member = tarfile.TarInfo(name)
    member.mode = 0o600
    digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # A buffer has no mode.
    member.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    archive.addfile(member, content)
    return digest


@contextmanager
def unpacked(path: Path, beside: Path) -> Iterator[Unpacked]:
    """Read an archive into a folder within `beside`, which is gone afterwards.

    `InvalidInputError` if it is no archive, of a later format, or damaged.
    """
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=beside) as name:
        folder = Path(name)
        try:
            read = _read(path, folder)
        except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{path} is not a backup of a coordinator: {reason_of(error)}") from error
        yield read


def _read(path: Path, folder: Path) -> Unpacked:
    secrets: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            known = any(fnmatchcase(member.name, pattern) for pattern in (_MANIFEST, DATABASE, SECRETS, *BESIDE))
            content = archive.extractfile(member)
            if content is None or not known or ".." in member.name:
                raise ValueError(f"{member.name[:80]!r} does not belong into one")
            if fnmatchcase(member.name, SECRETS):
                secrets[Path(member.name).stem] = key = content.read()
                digests[member.name] = hashlib.sha256(key).hexdigest()
                continue
            file = folder / member.name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600, exist_ok=False)
            with file.open("r+b") as copy:
                shutil.copyfileobj(content, copy)
                copy.seek(0)
                digests[member.name] = hashlib.file_digest(copy, "sha256").hexdigest()
    digests.pop(_MANIFEST)
    body = json.loads((folder / _MANIFEST).read_bytes())
    if body.pop("format") != _FORMAT:
        raise ValueError("a later version has written it")
    if body.pop("files") != digests:
        raise ValueError("something in it is damaged or missing")
    return Unpacked(Manifest(**body), folder, secrets)
