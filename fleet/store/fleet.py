"""The one row about the fleet itself."""

from __future__ import annotations

from collections.abc import Sequence

from reram_fleet.crypto.digests import ZERO_HASH
from sqlalchemy import select

from fleet.errors import ConflictError
from fleet.store import schema
from fleet.store.repository import Repository
from fleet.store.rows import FleetRow

_FLEET = select(schema.fleet)


class Fleet(Repository):
    """Identity, newest generation and desired revision."""

    def find(self) -> FleetRow | None:
        """Return the fleet's row, or None before `create`."""
        return self._row(FleetRow, _FLEET)

    def get(self) -> FleetRow:
        """Return the fleet's row; `NotFoundError` before `create`."""
        return self._once(schema.fleet, "the", lambda: self._one(FleetRow, _FLEET, "the database holds no fleet yet"))

    def create(self, fleet_id: str) -> FleetRow:
        """Make the fleet, at generation 0; `ConflictError` if there is one already."""
        existing = self.find()
        if existing is not None:
            raise ConflictError(f"the database already holds fleet {existing.fleet_id}")
        self._insert(schema.fleet, fleet_id=fleet_id, created_at_ms=self._now_ms, log_head=ZERO_HASH)
        return self.get()

    def set_log_head(self, generation: int, log_head: bytes) -> None:
        """Move to the newest entry of the forget log."""
        self._update(schema.fleet, generation=generation, log_head=log_head)
        self._touched.everybody, self._touched.generation = True, generation

    def set_desired_revision(self, revision: int) -> None:
        """Say which revision nodes are to install. Never a lower one: a roll-back is a new revision."""
        current = self.get().desired_revision
        if revision < current:
            raise ConflictError(f"revision {revision} is older than the desired one, {current}")
        self._update(schema.fleet, desired_revision=revision)
        self._touched.everybody = True

    def fix_task(self, task: str) -> None:
        """Say what the fleet's nodes recognise or generate; `ConflictError` if another task is said."""
        said = self.get().task
        if said and said != task:
            raise ConflictError(
                f"this fleet's task is {said}, not {task}: its people's codes are of that task",
                hint=f"serve it with --task {said}, or start a fleet of {task} in another folder",
            )
        self._update(schema.fleet, task=task)

    def fix_registry_key(self, public_key: bytes) -> None:
        """Say whose tickets enrol people (raw Ed25519, 32 bytes); `ConflictError` if another is said."""
        said = self.get().registry_public_key
        if said is not None and said != public_key:
            raise ConflictError(
                f"this fleet takes people in on tickets of registry key {said.hex()[:12]}, "
                f"not of {public_key.hex()[:12]}",
                hint="nodes have the first key pinned as well: restore that registry's key file",
            )
        self._update(schema.fleet, registry_public_key=public_key)

    def reserve_leases(self, count: int, horizon_ms: int) -> None:
        """Take so many lease numbers out of turn, none of which is used for a lease that ends after the horizon."""
        reserved = self.get().lease_sequence + count
        self._update(schema.fleet, lease_sequence=reserved, lease_horizon_ms=horizon_ms)
        self._touched.leases = (reserved, horizon_ms)

    def note_restore(self, revision: int = 0, lease_sequence: int = 0) -> None:
        """Note that these rows went back to a backup: every node may know more than they do, and is awaited.

        Parameters
        ----------
        revision, lease_sequence
            Numbers up to which some are known to have been signed. Others may have been: a fleet makes less than one
            revision in a millisecond, and grants less than one lease in a microsecond.
        """
        fleet, node = self.get(), schema.node.c
        age_ms = self._now_ms - fleet.created_at_ms
        numbered = max(fleet.lease_sequence, lease_sequence, 1000 * age_ms)
        self._update(
            schema.fleet,
            restored_at_ms=self._now_ms,
            restore_ended_ms=None,
            revision_floor=max(fleet.revision_floor or 0, revision, age_ms),
            lease_sequence=numbered,
        )
        self._update(schema.node, node.retired_at_ms.is_(None), awaited_since_ms=self._now_ms)
        # None that was reserved before is used.
        self._touched.leases = (numbered, 0)
        self._touched.awaited |= dict.fromkeys(self.awaited(), True)
        self._touched.everybody = True

    def end_restore(self) -> None:
        """Let nothing wait for nodes any more; any that have not been heard stay awaited."""
        self._touched.awaited |= dict.fromkeys(self.awaited(), False)
        self._update(schema.fleet, restore_ended_ms=self._now_ms)

    def awaited(self) -> Sequence[str]:
        """Return the ids of the nodes that everything waits for after a restore, sorted.

        What they know may be what was lost. Who was enrolled later keeps nobody waiting.
        """
        fleet, node = self.get(), schema.node.c
        if fleet.restored_at_ms is None or fleet.restore_ended_ms is not None:
            return ()
        waits = (node.awaited_since_ms <= fleet.restored_at_ms, node.retired_at_ms.is_(None))
        return self._column(select(node.node_id).where(*waits).order_by(node.node_id))

    def fix_command_key(self, public_key: bytes) -> None:
        """Say which coordinator's fleet this is (raw Ed25519, 32 bytes); `ConflictError` if it is another's."""
        said = self.get().command_public_key
        if said is not None and said != public_key:
            raise ConflictError(
                f"the fleet in this database follows command key {said.hex()[:12]}, not {public_key.hex()[:12]}",
                hint="serve it from the state folder that has its keys, or name another database",
            )
        self._update(schema.fleet, command_public_key=public_key)
