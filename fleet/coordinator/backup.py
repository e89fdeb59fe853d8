"""Backup of a coordinator: a copy of its rows and of its own keys, without those that forgets destroy (ADR 18)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fleet.coordinator.archive import BESIDE, DATABASE, SECRETS, Manifest, write_archive
from fleet.coordinator.folder import CoordinatorFolder
from fleet.errors import StoreError
from fleet.store.database import Store


def back_up(folder: CoordinatorFolder, output: Path, *, with_secrets: bool = False) -> Manifest:
    """Write a backup of a coordinator, which may be serving; returns what it says of itself.

    With the keys that forgets destroy in it, no forget reaches the backup: it must be destroyed, too.

    `ConflictError` if `output` is there already; `StoreError` if no whole coordinator is in the folder, or its database
    is of another version.
    """
    folder.check()
    if not folder.has_fleet():
        raise StoreError(f"no coordinator has served from {folder.root}", hint="--state names its folder")
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder.root) as name:
        copy = Path(name) / DATABASE
        with Store.open(folder.database_url, migrate=False) as store, store.snapshot() as source:
            fleet = source.fleet.get()
            with Store.open(f"sqlite:///{copy}") as target, target.transaction() as tx:
                tx.all_rows.replace(source.all_rows)
        # After the rows: a key that was destroyed meanwhile must not be in it.
        patterns = (*BESIDE, SECRETS) if with_secrets else BESIDE
        files = [path for pattern in patterns for path in sorted(folder.root.glob(pattern))]
        manifest = Manifest(fleet.fleet_id, fleet.generation, store.now_ms(), with_secrets)
        contents = {str(path.relative_to(folder.root)): path for path in files}
        write_archive(output, {DATABASE: copy, **contents}, manifest)
    return manifest
