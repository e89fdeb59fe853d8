"""Restore of a coordinator from a backup: what was forgotten since stays forgotten (ADR 18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.crypto.key_store import FileKeyStore, create_private
from reram_fleet.processes.durable import locked
from reram_fleet.v1.types_pb2 import Envelope

from fleet.coordinator.archive import BESIDE, DATABASE, Manifest, unpacked
from fleet.coordinator.at_rest import drop_keyless, owned_key_ids, subject_key_id
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.nodes.decisions import take_out
from fleet.errors import ConflictError
from fleet.store.database import Store, Transaction, wall_clock_ms
from fleet.store.rows import NodeRow, SubjectRow
from fleet.trust.keys import CoordinatorKeys
from fleet.trust.leaves import LeafKind, leaf_data

_LOSE = "--lose-forgets restores nevertheless"


@dataclass(frozen=True)
class Restored:
    """Outcome of a restore."""

    manifest: Manifest
    #: Newest generation that was here; None if nothing told.
    generation_before: int | None
    #: Tags that were forgotten since the backup: they have a tombstone again, and are forgotten anew.
    still_forgotten: tuple[str, ...]
    #: Tags whose sums had no key here, without a sign that they were forgotten: gone here, and with their nodes still.
    without_key: tuple[str, ...]
    #: Key files of the backup that came back, and that did not.
    keys_back: int
    keys_refused: int


def restore(
    folder: CoordinatorFolder,
    archive: Path,
    *,
    lose_forgets: bool = False,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Restored:
    """Bring a coordinator back from a backup: files that are missing in its folder, and all rows.

    What the rows say of nodes may be out of date: all are awaited (`nodes/recovery.py`).

    `ConflictError`, and nothing was changed: a coordinator serves from the folder; another fleet is there; or forgets
    would be lost, or nothing tells whether any would, and `lose_forgets` does not say so. `InvalidInputError` if the
    file is no backup.
    """
    folder.create()
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder.lock, wait=False))
        except BlockingIOError:
            raise ConflictError(f"a coordinator serves from {folder.root}", hint="end it first") from None
        backup = held.enter_context(unpacked(archive, folder.root))
        _check_same_keys(folder, backup.folder)
        source = held.enter_context(Store.open(f"sqlite:///{backup.folder / DATABASE}"))
        target = held.enter_context(Store.open(folder.database_url, now_ms=now_ms))
        secrets = FileKeyStore(folder.secrets)
        with target.snapshot() as today:
            known = Known.by(today, secrets.ids(), backup.secrets)
        with source.transaction() as tx:
            known.check(tx, backup.manifest, lose_forgets)
            still_forgotten, without_key = known.forget_again(tx)
            known.decide_again(tx)
        with source.snapshot() as rows, target.transaction() as tx:
            tx.all_rows.replace(rows.all_rows)
            tx.fleet.note_restore(known.revision, known.lease_sequence)
            # Whoever leads from another folder cannot commit any more.
            tx.leadership.take("a restore")
            back = (known.allowed.keys() & owned_key_ids(rows)) - secrets.ids()
        # Keys last: with keys and without rows, a folder would be that of a fleet that is about to begin.
        for key_id in sorted(back):
            create_private(folder.secrets / f"{key_id}.key", known.allowed[key_id])
        for file in (file for pattern in BESIDE for file in sorted(backup.folder.glob(pattern))):
            place = folder.root / file.relative_to(backup.folder)
            if not place.exists():
                create_private(place, file.read_bytes())
        folder.note_made()
        refused = len(backup.secrets.keys() - secrets.ids())
    return Restored(backup.manifest, known.generation, still_forgotten, without_key, len(back), refused)


def _check_same_keys(folder: CoordinatorFolder, files: Path) -> None:
    """Refuse a folder in which another fleet lives."""
    for name in (*(f"keys/{name}" for name in CoordinatorKeys.FILES), "canary.json"):
        here, archived = folder.root / name, files / name
        if here.exists() and archived.exists() and here.read_bytes() != archived.read_bytes():
            raise ConflictError(
                f"{here} is not the one of the backup: another fleet lives in this folder",
                hint="restore into an empty folder (--state)",
            )


@dataclass(frozen=True)
class Known:
    """Knowledge of what was forgotten since a backup: by the rows of today, else by keys that are gone."""

    fleet_id: str | None
    #: Newest generation; None without rows.
    generation: int | None
    #: Numbers up to which revisions and leases may have been signed, by the rows of today.
    revision: int
    lease_sequence: int
    #: Who is forgotten by the rows of today, spent canaries among them.
    tombstones: Sequence[SubjectRow]
    #: Nodes that are held or retired by the rows of today, each with what was decided about it.
    out: Sequence[tuple[NodeRow, Sequence[bytes]]]
    here: frozenset[str]
    #: Keys of the backup that may come back: their owners are not forgotten, or nothing here knows anything.
    allowed: Mapping[str, bytes]

    @classmethod
    def by(cls, today: Transaction, here: set[str], secrets: Mapping[str, bytes]) -> Known:
        """Return what is known by the rows and by the keys that are here; `secrets` are the keys of the backup."""
        fleet = today.fleet.find()
        # A key that is gone among others that are here was destroyed.
        may_return = set() if here else set(secrets)
        if fleet is not None:
            may_return = owned_key_ids(today)
        return cls(
            None if fleet is None else fleet.fleet_id,
            None if fleet is None else fleet.generation,
            0 if fleet is None else max(fleet.revision_floor or 0, today.revisions.latest_number()),
            0 if fleet is None else fleet.lease_sequence,
            today.subjects.list(forgotten=True),
            [
                (node, today.audit_events.of_node(node.node_id))
                for node in today.nodes.list(include_retired=True)
                if node.held_reason
            ],
            frozenset(here),
            {key_id: key for key_id, key in secrets.items() if key_id in may_return},
        )

    def check(self, tx: Transaction, manifest: Manifest, lose_forgets: bool) -> None:
        """Refuse to lose forgets, or to lose count of them."""
        if self.fleet_id not in (None, manifest.fleet_id):
            raise ConflictError(
                f"the database holds fleet {self.fleet_id}, the backup is of {manifest.fleet_id}",
                hint="restore into an empty one (--database)",
            )
        if lose_forgets:
            return
        if self.generation is not None and self.generation > manifest.generation:
            raise ConflictError(
                f"the log here has {self.generation} forgets, that of the backup {manifest.generation}: "
                f"{self.generation - manifest.generation} would be lost",
                hint=f"{_LOSE}; who is known here to be forgotten is forgotten anew once all nodes were heard",
            )
        if self.generation is None and self.here and (gone := self._keyless(tx)):
            raise ConflictError(
                f"the keys of {len(gone)} people are gone from {len(self.here)} that are here: they were forgotten "
                "after the backup was made, and their forgets would be lost",
                hint=f"take a later backup; {_LOSE}",
            )
        if self.generation is None and not self.here and manifest.with_secrets:
            raise ConflictError(
                "nothing here tells who was forgotten after the backup was made, and the keys of all are in it",
                hint=f"restore beside the secrets folder of today; {_LOSE}, and those people come back",
            )

    def forget_again(self, tx: Transaction) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take out of restored rows who was forgotten since, and whatever has no key any more.

        Returns the tags that were forgotten, and those of others whose sums are gone.
        """
        before = {subject.tag for subject in tx.subjects.list(forgotten=True)}
        for subject in self.tombstones:
            tx.subjects.forget([subject.tag], subject.forgotten_generation or 0)
        if self.generation is None and self.here and (keyless := self._keyless(tx)):
            tx.subjects.forget(keyless, tx.fleet.get().generation)
        forgotten = {subject.tag for subject in tx.subjects.list(forgotten=True)} - before
        if forgotten:
            tx.revisions.erase(forgotten)
        forgotten -= {subject.tag for subject in self.tombstones if subject.canary}
        without_key = self._keyless(tx)
        for row in tx.subjects.contributions():
            if row.tag in without_key:
                tx.subjects.drop_contribution(row.tag, row.node_id)
        drop_keyless(tx, self._has)
        return tuple(sorted(forgotten)), tuple(sorted(without_key))

    def decide_again(self, tx: Transaction) -> None:
        """Hold or retire in restored rows who is so today: a node that was stolen, perhaps."""
        for node, decisions in self.out:
            before = tx.nodes.find(node.node_id)
            if before is None or before.retired_at_ms is not None:
                continue
            if node.retired_at_ms is None:
                tx.nodes.hold(node.node_id, node.held_reason)
                continue
            take_out(tx, node.node_id, node.held_reason.removeprefix("retired: "))
            # Certificates without the node rest on the newest: that it is retired.
            for decision in decisions[-1:]:
                leaf = leaf_data(LeafKind.AUDIT_EVENT, Envelope.FromString(decision))
                tx.tree.append(LeafKind.AUDIT_EVENT, leaf)
                tx.audit_events.append(node.node_id, decision)

    def _keyless(self, tx: Transaction) -> set[str]:
        """Return the people whose sums have no key."""
        return {row.tag for row in tx.subjects.contributions() if not self._has(subject_key_id(row.tag))}

    def _has(self, key_id: str) -> bool:
        return key_id in self.here or key_id in self.allowed
