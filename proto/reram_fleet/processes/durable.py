"""Files that survive a power cut, files that do not come back after one, and locks."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the creation, renaming or removal of names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file: readers see the old content or the new one, never a part, also after a power cut.

    The folder is made (0700) if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Hidden and unique: a leftover of a crash is never taken for the file, nor in the way of the next write.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder_atomically(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder (0700) with these files (0600): all of them are there or none, also after a power cut.

    `OSError` if the folder holds something already, or cannot be made.
    """
    staged = folder.with_name(f".{folder.name}.new")
    if staged.exists():
        # Of a crash: nobody has seen what is in it.
        for leftover in staged.iterdir():
            destroy(leftover)
    for name, content in files.items():
        write_atomically(staged / name, content)
    os.rename(staged, folder)
    sync_folder(folder.parent)


def destroy(path: Path) -> bool:
    """Overwrite a file, remove it, and make that durable; False if it was gone already.

    Overwriting reaches the medium only where the file system writes in place. On flash behind a translation layer the
    old block may live on until it is recycled: what a key protects is as safe as that block.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        os.write(descriptor, os.urandom(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_folder(path.parent)
    return True


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file, which is made (0600) if it is missing; the kernel lets go of it when its owner dies.

    While another process holds it, wait, or raise `BlockingIOError`. `OSError` if it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
