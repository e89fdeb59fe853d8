"""Disk and limits: room for what is written next, and a descriptor for every node."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import psutil

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target

AREA = Area("disk")
_MIB = 1 << 20
#: A forget of ten thousand nodes writes some ten MiB; a backup, or a migration, the database once more.
_LEAST_BYTES, _ENOUGH_BYTES = 64 * _MIB, 1024 * _MIB
#: Files are keys of people and revisions.
_LEAST_INODES, _ENOUGH_INODES = 1_000, 20_000
#: What a coordinator has open beside its nodes: database, learning plane, operators.
_SPARE_DESCRIPTORS = 256


def check_disk(target: Target) -> Iterator[Finding]:
    """Look at free space and inodes under the folder, and at the limit of open files."""
    if target.folder is None:
        yield AREA.unknown("the coordinator's folder is not on this machine", "fleet doctor, on the coordinator's")
        return
    root = target.folder.root
    room = os.statvfs(root)
    database = target.folder.database
    wanted = database.stat().st_size if database is not None and database.exists() else 0
    free, say = room.f_bavail * room.f_frsize, f"{room.f_bavail * room.f_frsize / _MIB:,.0f} MiB free under {root}"
    fix = f"make room, or move the folder: df -h {root}"
    if free < _LEAST_BYTES:
        yield AREA.failure(f"{say}: forgets are refused when it is full", fix)
    elif free < _ENOUGH_BYTES + wanted:
        yield AREA.warning(f"{say}, beside a database of {wanted / _MIB:,.0f} MiB", fix)
    else:
        yield AREA.ok(say)
    # File systems without a table of inodes say 0 of 0.
    if room.f_files and room.f_favail < _ENOUGH_INODES:
        kind = AREA.failure if room.f_favail < _LEAST_INODES else AREA.warning
        yield kind(f"{room.f_favail:,} inodes free under {root}", f"df -i {root}")
    elif room.f_files:
        yield AREA.ok(f"{room.f_favail:,} inodes free")
    yield _open_files(target)


def _open_files(target: Target) -> Finding:
    nodes = target.answer.fleet.nodes_registered if target.answer else None
    try:
        soft = _limit(target.process)
    except psutil.AccessDenied:
        return AREA.unknown("the coordinator's limit of open files: this user may not look", "sudo fleet doctor")
    whose = "the coordinator may" if target.process is not None else "started from here, a coordinator may"
    if nodes is None:
        return AREA.unknown(f"{whose} have {soft:,} files open; how many nodes there are is not known")
    if soft < nodes + _SPARE_DESCRIPTORS:
        return AREA.failure(
            f"{whose} have {soft:,} files open, and {nodes:,} nodes need one each beside {_SPARE_DESCRIPTORS}",
            "LimitNOFILE= in its systemd unit, or ulimit -n",
        )
    return AREA.ok(f"{whose} have {soft:,} files open, enough for {nodes:,} nodes")


def _limit(process: psutil.Process | None) -> int:
    """Return the soft limit of open files."""
    if process is None:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
    return int(soft)
