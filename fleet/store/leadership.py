"""Leadership of a fleet: one row that numbers its coordinators, and that every writer locks."""

from __future__ import annotations

from sqlalchemy import select

from fleet.errors import SupersededError
from fleet.store import schema
from fleet.store.repository import Repository
from fleet.store.rows import LeaderRow

_NEWEST = select(schema.leader.c.epoch).with_for_update()


class Leadership(Repository):
    """Epochs of coordinators: each that starts takes the next one, and only the newest may write."""

    def get(self) -> LeaderRow:
        """Return who leads, and since when; epoch 0 before the first."""
        return self._one(LeaderRow, select(schema.leader), "the database says nothing about who leads")

    def take(self, holder: str) -> int:
        """Take the next epoch, and return it."""
        self._update(schema.leader, epoch=schema.leader.c.epoch + 1, holder=holder[:128], since_ms=self._now_ms)
        return self.get().epoch

    def check(self, epoch: int | None) -> None:
        """Let no other writer in until the transaction ends, and refuse to write at an epoch that is over.

        `SupersededError` if there is a newer one than `epoch`; None is somebody who does not lead: a tool, a test.
        """
        # PostgreSQL locks the row, and reads it as the writer before has left it; SQLite has locked the file.
        newest = self._run(_NEWEST).scalar_one()
        if epoch is not None and epoch != newest:
            leader = self.get()
            raise SupersededError(
                f"{leader.holder} leads this fleet since epoch {newest}; this coordinator's, {epoch}, is over",
                hint="one coordinator at a time: end one of them",
            )
