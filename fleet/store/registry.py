"""The one row about the fleet itself."""

from __future__ import annotations

from reram_fleet.crypto.digests import ZERO_HASH
from sqlalchemy import Connection, insert, select, update

from fleet.errors import ConflictError, NotFoundError
from fleet.store import schema
from fleet.store.rows import FleetRow


class Fleet:
    """Identity, newest generation and desired revision."""

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms

    def find(self) -> FleetRow | None:
        """Return the fleet's row, or None before `create`."""
        row = self._connection.execute(select(schema.fleet)).mappings().one_or_none()
        return None if row is None else FleetRow(**row)

    def get(self) -> FleetRow:
        """Return the fleet's row; `NotFoundError` before `create`."""
        row = self.find()
        if row is None:
            raise NotFoundError("the database holds no fleet yet")
        return row

    def create(self, fleet_id: str) -> FleetRow:
        """Make the fleet, at generation 0; `ConflictError` if there is one already."""
        existing = self.find()
        if existing is not None:
            raise ConflictError(f"the database already holds fleet {existing.fleet_id}")
        values = {
            "fleet_id": fleet_id,
            "created_at_ms": self._now_ms,
            "generation": 0,
            "log_head": ZERO_HASH,
            "desired_revision": 0,
            "lease_sequence": 0,
        }
        self._connection.execute(insert(schema.fleet).values(values))
        return self.get()

    def set_desired_revision(self, revision: int) -> None:
        """Say which revision nodes are to install. Never a lower one: a roll-back is a new revision."""
        current = self.get().desired_revision
        if revision < current:
            raise ConflictError(f"revision {revision} is older than the desired one, {current}")
        self._connection.execute(update(schema.fleet).values(desired_revision=revision))

    def fix_task(self, task: str) -> None:
        """Say what the fleet's nodes recognise or draw; `ConflictError` if another task is said."""
        said = self.get().task
        if said and said != task:
            raise ConflictError(
                f"this fleet's task is {said}, not {task}: its people's codes are of that task",
                hint=f"serve it with --task {said}, or start a fleet of {task} in another folder",
            )
        self._connection.execute(update(schema.fleet).values(task=task))

    def fix_registry_key(self, public_key: bytes) -> None:
        """Say whose tickets enrol people (raw Ed25519, 32 bytes); `ConflictError` if another is said."""
        said = self.get().registry_public_key
        if said is not None and said != public_key:
            raise ConflictError(
                f"this fleet takes people in on tickets of registry key {said.hex()[:12]}, "
                f"not of {public_key.hex()[:12]}",
                hint="nodes have the first key pinned as well: restore that registry's key file",
            )
        self._connection.execute(update(schema.fleet).values(registry_public_key=public_key))

    def next_lease_sequence(self) -> int:
        """Count a lease, and return its number."""
        self._connection.execute(update(schema.fleet).values(lease_sequence=schema.fleet.c.lease_sequence + 1))
        return self.get().lease_sequence
