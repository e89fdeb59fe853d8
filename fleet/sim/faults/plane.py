"""Coordinator of a history: its own logic on a disk that fails, started anew whenever its process ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reram_fleet.crypto.testing import seeded

from fleet.coordinator.restore import Known
from fleet.sim.control_plane import ControlPlane
from fleet.sim.faults.disks import Disk, DiskKeys, DiskStore, empty_store, reopened
from fleet.sim.faults.nodes import EXPECTED
from fleet.sim.faults.record import Record
from fleet.sim.scheduler import Scheduler
from fleet.store.database import Store
from hwmodel import keyed_seed

#: From the end of the process until it is started again.
RESTART_S = 5.0

#: Rows and keys.
Content = tuple[bytes, dict[str, bytes]]


class FaultyPlane(ControlPlane):
    """Coordinator that dies at durable steps, and goes back to a backup."""

    def __init__(self, scheduler: Scheduler, folder: Path, seed: int, record: Record, **options: Any) -> None:
        self.record, self.disk, self._store = record, Disk("coordinator", self.content), None
        self._keys = DiskKeys(self.disk, draw=seeded(keyed_seed(seed, "faults.secrets")).draw)
        super().__init__(scheduler, folder, seed, secrets=self._keys, open_store=self._opened_store, **options)

    _store: DiskStore | None

    def _opened_store(self, url: str, now_ms: Callable[[], int]) -> Store:
        make = empty_store if self._store is None else reopened
        self._store = make(self.disk, now_ms)
        return self._store

    @property
    def key_ids(self) -> set[str]:
        """Ids of the keys that are there, whole or half."""
        return self._keys.ids() | self._keys.leftovers

    def content(self) -> Content:
        """Return a copy of all that is durable."""
        assert self._store is not None
        return self._store.content(), self._keys.items()

    def die(self, survives: Content | None, down_s: float) -> None:
        """End in the middle of what it did; what survives is less than what seems to be durable, perhaps."""
        self.crash()
        if survives is not None:
            assert self._store is not None
            content, keys = survives
            self._store.go_back(content)
            self._keys.become(keys)
        self._scheduler.after(down_s, self.restart)

    def end(self, down_s: float) -> None:
        """End without warning, and start again."""
        if self.runs:
            self.die(None, down_s)

    def restart(self) -> None:
        """Start anew from what is durable; whoever supervises it tries again."""
        if self.runs:
            return
        try:
            self.start(None)
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            self._scheduler.after(RESTART_S, self.restart)
            return
        self.record.note("serving-again")
        self._change()

    def _failed(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        self.record.note("coordinator-error", "", error=what)
        if not isinstance(error, EXPECTED):
            self.record.note("unexpected", "", error=what)

    def _now(self, what: str, action: Callable[[], Any]) -> None:
        try:
            super()._now(what, action)
        except Exception as error:  # noqa: BLE001  # A loop that ends is a process that ends.
            self._failed(error)
            self.die(None, RESTART_S)

    def _idle_look(self) -> None:
        try:
            super()._idle_look()
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            self.die(None, RESTART_S)

    def restore(self, backup: Content, down_s: float) -> None:
        """Restore the rows of a backup beside the keys of today, as `fleet admin restore --lose-forgets` does."""
        assert self._store is not None
        self.crash()
        self.disk.mend()
        store = reopened(self.disk, self.clock.unix_ms)
        with store.snapshot() as today:
            known = Known.by(today, self._keys.ids(), backup[1])
        store.go_back(backup[0])
        with store.transaction() as tx:
            known.forget_again(tx)
            known.decide_again(tx)
            tx.fleet.note_restore(known.revision, known.lease_sequence)
            tx.leadership.take("a restore")
        for key_id in sorted(known.allowed.keys() - self._keys.ids()):
            self._keys.put_back(key_id, known.allowed[key_id])
        self._scheduler.after(down_s, self.restart)

    @property
    def kept(self) -> DiskStore:
        """Database as it is."""
        assert self._store is not None
        return self._store
