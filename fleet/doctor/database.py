"""Database: reachable, of this version, whole, and led by the coordinator that runs."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target

AREA = Area("database")


def check_database(target: Target) -> Iterator[Finding]:
    """Look at schema, integrity and leadership; nothing is migrated."""
    if target.folder is None:
        yield AREA.unknown("it is not known on this machine", "fleet doctor, on the coordinator's")
        return
    if target.folder.database is not None and not target.folder.database.exists():
        yield AREA.unknown(f"there is no {target.folder.database}")
        return
    restore = f"fleet admin restore FILE --state {shlex.quote(str(target.folder.root))}"
    with target.store() as store:
        complaints = store.complaints()
        if complaints:
            yield AREA.failure(f"{_kind(target)} is damaged, or set up wrongly: {'; '.join(complaints)}", restore)
            return
        yield AREA.ok(f"{_kind(target)} is whole")
        schema = store.schema_state()
        if not schema.is_known:
            yield AREA.failure(
                f"its tables are of revision {schema.revision}, which this version ({schema.newest}) does not know",
                "run the version that has written it, or a newer one",
            )
            return
        if schema.revision != schema.newest:
            yield AREA.warning(
                f"its tables are of revision {schema.revision or 'none'}, this version's are of {schema.newest}",
                f"fleet admin backup with the version that wrote it; then fleet serve --state "
                f"{shlex.quote(str(target.folder.root))} brings it up to date",
            )
            return
        yield AREA.ok(f"its tables are of revision {schema.newest}, the newest")
    yield from _leadership(target)


def _leadership(target: Target) -> Iterator[Finding]:
    with target.rows() as tx:
        leader = tx.leadership.get()
    if target.process is None:
        yield AREA.ok(f"led last by {leader.holder or 'nobody'}, at epoch {leader.epoch}")
        return
    here = f"{socket.gethostname()}:{target.process.pid}"
    if leader.holder == here:
        yield AREA.ok(f"led by the coordinator that runs here, at epoch {leader.epoch}")
    else:
        yield AREA.failure(
            f"{leader.holder} leads this fleet since epoch {leader.epoch}: the coordinator that runs here ({here}) "
            "cannot commit",
            "one coordinator at a time: end one of them",
        )


def _kind(target: Target) -> str:
    assert target.folder is not None, "whoever asks has looked"
    return str(target.folder.database) if target.folder.database else "the PostgreSQL database"
