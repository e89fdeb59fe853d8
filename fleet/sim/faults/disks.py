"""Disks that fail: twins in memory of a node's journal, a coordinator's database, and the keys of both.

A durable step is a transaction that has written something, or a key that is made or destroyed. Of SQLite's semantics,
which both stores rest on, a step is there whole or not at all, and it is there once `COMMIT` has returned if the
database was opened to wait for that (`PRAGMA synchronous`). Which step fails, and how, is armed beforehand.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from typing import Any

from reram_fleet.crypto.key_store import MemoryKeyStore
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from edge_node.storage.journal import Journal
from fleet.store.database import Store, Transaction

#: So many steps that nobody waits for are not on the disk yet.
_UNSYNCED = 4
#: From here on SQLite waits until a commit is on the disk: PRAGMA synchronous = FULL.
_FULL = 2


class Dies(BaseException):
    """A process has ended without warning: what is left of it is what was durable."""

    def __init__(self, who: str, side: Side, step: int) -> None:
        super().__init__(f"{who} dies at its step {step}: {side}")
        self.who, self.side = who, side


class Side(StrEnum):
    """Moment at which power fails, as what is durable then shows it."""

    BEFORE = "before"
    AFTER = "after"
    TORN = "torn"
    LOST = "lost"
    REORDERED = "reordered"


class Disk:
    """Disk of one machine, and what fails on it.

    Parameters
    ----------
    who
        Whose it is.
    copy
        Returns a copy of all that is durable.
    """

    def __init__(self, who: str, copy: Callable[[], Any]) -> None:
        self.who, self._copy = who, copy
        #: Durable steps so far.
        self.steps = 0
        #: Whether nothing more can be written, and how many writes fail when they are to become durable.
        self.full, self.failing = False, 0
        #: Copy that survives the death that was raised last, in place of what seems to be there.
        self.survives: Any = None
        self._armed: tuple[int, Side] | None = None
        self._before: Any = None
        #: Copies from before each of the last steps that nobody waits for.
        self._unsynced: deque[Any] = deque(maxlen=_UNSYNCED)
        self._destroyed: tuple[int, DiskKeys, str, bytes] | None = None

    def arm(self, steps: int, side: Side) -> None:
        """Let the machine die at one of its next durable steps, the first being number 1."""
        self._armed, self._before = (self.steps + steps, side), None

    def mend(self) -> None:
        """Let nothing fail any more."""
        self.full, self.failing, self._armed = False, 0, None

    def beginning(self, *, durable: bool = True) -> None:
        """Note that a step may be about to be written, and whether whoever writes it waits until it is durable."""
        if self._armed == (self.steps + 1, Side.LOST):
            self._before = self._copy()
        if not durable:
            self._unsynced.append(self._copy())

    def writing(self, *, grows: bool = True) -> None:
        """Write a step, if the disk can: else `OSError`, or the machine dies."""
        self.steps += 1
        side = self._due()
        if side in (Side.BEFORE, Side.TORN):
            self._die(side)
        if grows and self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.failing:
            self.failing -= 1
            raise OSError(errno.EIO, "Input/output error")

    def written(self) -> None:
        """Note that the step was written."""
        side = self._due()
        if side is Side.LOST and self._before is not None:
            self.survives, self._before = self._before, None
        if side is Side.REORDERED and self._destroyed is not None and self._destroyed[0] == self.steps - 1:
            _, store, key_id, key = self._destroyed
            store.put_back(key_id, key)
        if side is not None:
            self._die(side)

    def destroyed(self, store: DiskKeys, key_id: str, key: bytes) -> None:
        """Note which key this step destroys."""
        self._destroyed = self.steps, store, key_id, key

    def _due(self) -> Side | None:
        return self._armed[1] if self._armed is not None and self._armed[0] == self.steps else None

    def _die(self, side: Side) -> None:
        self._armed = None
        if self._unsynced:
            # Nobody has waited for these: power fails before they are on the disk.
            self.survives = self._unsynced[0]
            self._unsynced.clear()
        raise Dies(self.who, side, self.steps)


class DiskKeys(MemoryKeyStore):
    """Keys on a disk."""

    def __init__(self, disk: Disk, keys: Mapping[str, bytes] | None = None, draw: Callable[[int], bytes] = os.urandom):
        super().__init__(keys, draw)
        self._disk = disk
        #: Ids of keys whose files are half there.
        self.leftovers: set[str] = set()

    def create(self, key_id: str) -> bytes:
        """Make a key, durably."""
        if self.exists(key_id):
            return super().create(key_id)
        try:
            self._disk.writing()
            key = super().create(key_id)
            self._disk.written()
        except Dies as death:
            if death.side is Side.TORN:
                self.leftovers.add(key_id)
            if death.side is Side.LOST:
                super().destroy(key_id)
            raise
        return key

    def destroy(self, key_id: str) -> bool:
        """Destroy a key, durably; that needs no space."""
        if not self.exists(key_id):
            return False
        key = self.get(key_id)
        self._disk.writing(grows=False)
        super().destroy(key_id)
        self._disk.destroyed(self, key_id, key)
        try:
            self._disk.written()
        except Dies as death:
            if death.side is Side.LOST:
                self.put_back(key_id, key)
            raise
        return True

    def items(self) -> dict[str, bytes]:
        """Return all keys by id."""
        return dict(self._keys)

    def become(self, keys: dict[str, bytes]) -> None:
        """Have these keys, and no others."""
        self._keys = dict(keys)

    def put_back(self, key_id: str, key: bytes) -> None:
        """Have a key again that was destroyed."""
        self._keys[key_id] = key

    def sweep_leftovers(self) -> None:
        """Destroy what is half there."""
        self.leftovers.clear()

    def copy(self) -> DiskKeys:
        """Return the same keys on the same disk."""
        copy = DiskKeys(self._disk, self._keys, self._draw)
        copy.leftovers = set(self.leftovers)
        return copy


class DiskJournal(Journal):
    """Journal on a disk."""

    disk: Disk | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing; durable when the block has ended."""
        if self.disk is None:
            with super().transaction():
                yield
            return
        changes, wrote = self._connection.total_changes, False
        self.disk.beginning(durable=self._one("PRAGMA synchronous")[0] >= _FULL)
        with super().transaction():
            yield
            if wrote := self._connection.total_changes != changes:
                try:
                    self.disk.writing()
                except OSError as error:
                    raise sqlite3.OperationalError(str(error)) from error
        if wrote:
            self.disk.written()


class DiskStore(Store):
    """Database of a coordinator on a disk. One at a time in a process: statements are compiled once for all."""

    disk: Disk

    def __init__(self, url: URL, now_ms: Callable[[], int]) -> None:
        super().__init__(url, now_ms)
        first = _first()
        self._engine, self._readers, self._commits = first._engine, first._readers, first._commits

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Read and write; commits at the end, rolls back on any exception."""
        wrote = False
        self.disk.beginning()
        with super().transaction() as tx:
            yield tx
            if wrote := tx.writes > 0:
                try:
                    self.disk.writing()
                except OSError as error:
                    raise OperationalError("COMMIT", None, error) from error
        if wrote:
            self.disk.written()

    def go_back(self, content: bytes) -> None:
        """Have other content, of `content`."""
        with self._engine.connect() as connection:
            _driver(connection).deserialize(content)

    def close(self) -> None:
        """Do nothing: the next one goes on with the connection."""


def empty_store(disk: Disk, now_ms: Callable[[], int]) -> DiskStore:
    """Return the database of a new fleet."""
    store = reopened(disk, now_ms)
    store.go_back(_blank())
    return store


def reopened(disk: Disk, now_ms: Callable[[], int]) -> DiskStore:
    """Return the database as it is."""
    store = DiskStore(_first()._url, now_ms)
    store.disk = disk
    return store


@cache
def _first() -> Store:
    return Store.open("sqlite://")


@cache
def _blank() -> bytes:
    return Store.open("sqlite://").content()


def _driver(connection: Any) -> Any:
    return connection.connection.driver_connection
