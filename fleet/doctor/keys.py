"""Keys and tokens: there, whole, and readable by their owner only."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reram_fleet.crypto.bearer import TokenError, check_token

from fleet.coordinator.folder import CoordinatorFolder
from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target
from fleet.errors import FleetError
from fleet.registry import Registry
from fleet.trust.keys import CoordinatorKeys

AREA = Area("keys")
#: Files that nobody but their owner may read, by their names in the folder.
_PRIVATE = ("keys/*", "secrets/*", "canary.json", "fleet.db*", "flower/tls/*.key", "tls/*.key", "pki/*.key")


def check_keys(target: Target) -> Iterator[Finding]:
    """Look at modes and owners of the folder and its files, and whether the keys are those of a coordinator."""
    yield from _token(target)
    yield from _registry(target.registry)
    if target.folder is None:
        yield AREA.unknown("the coordinator's folder is not on this machine", "fleet doctor, on the coordinator's")
        return
    root = target.folder.root
    wide = [path for path in (root, *_private(root)) if _mode(path) & 0o077]
    if wide:
        yield AREA.failure(
            f"others may read {some([_inside(path, root) for path in wide])}",
            " ".join(["chmod", "go-rwx", *(shlex.quote(str(path)) for path in wide[:20])]),
        )
    else:
        yield AREA.ok(f"{root} and the private files in it are open to their owner only")
    owner = root.stat().st_uid
    strange = [path for path in _private(root) if path.stat().st_uid != owner]
    if strange:
        yield AREA.failure(
            f"{some([_inside(path, root) for path in strange])} do not belong to {_user(owner)}, as the folder does",
            f"chown -R {_user(owner)} {shlex.quote(str(root))}",
        )
    if target.process is not None and (uid := target.process.uids().effective) != owner:
        yield AREA.failure(f"the folder is {_user(owner)}'s, and the coordinator runs as {_user(uid)}")
    yield from _own_keys(target, target.folder)


def _own_keys(target: Target, folder: CoordinatorFolder) -> Iterator[Finding]:
    if not os.access(folder.root, os.R_OK | os.X_OK):
        yield AREA.unknown(f"the keys in {folder.root}: this user may not look")
        return
    try:
        folder.check()
        if not any((folder.keys / name).exists() for name in CoordinatorKeys.FILES):
            yield AREA.unknown(f"no coordinator has served from {folder.root} yet", "fleet serve")
            return
        # With one of them there, none is made.
        keys = CoordinatorKeys.load_or_create(folder.keys)
    except FleetError as error:
        yield AREA.failure(str(error), error.hint)
        return
    yield AREA.ok("command key, sealing key and both tokens are there and whole")
    with target.rows() as tx:
        fleet = tx.fleet.find()
    followed = None if fleet is None else fleet.command_public_key
    if followed is not None and followed != keys.command_public_key:
        yield AREA.failure(
            f"the fleet in the database follows command key {followed.hex()[:12]}, the one here is "
            f"{keys.command_public_key.hex()[:12]}",
            "bring keys/ and the database back from one backup; --database names another one",
        )


def _token(target: Target) -> Iterator[Finding]:
    """Look at the operator's token, of a coordinator that may be elsewhere."""
    path = target.token_file
    if path is None:
        return
    try:
        check_token(path.read_bytes())
        mode = _mode(path)
    except OSError as error:
        yield AREA.failure(f"the operator's token {path} cannot be read: {error.strerror or error}", "--token-file")
        return
    except TokenError as error:
        yield AREA.failure(f"{path} opens nothing: {error}")
        return
    inside = target.folder is not None and path.is_relative_to(target.folder.root)
    if mode & 0o077 and not inside:
        yield AREA.failure(f"others may read the operator's token {path}", f"chmod 600 {shlex.quote(str(path))}")
    elif not inside:
        yield AREA.ok(f"the operator's token {path} is readable by its owner only")


def _registry(path: Path | None) -> Iterator[Finding]:
    """Look at the caller's map of people, and the key that says who may be enrolled."""
    if path is None or not path.exists():
        return
    files = [each for each in (path, Registry(path).key_path) if each.exists()]
    wide = [each for each in files if _mode(each) & 0o077]
    if wide:
        names = " ".join(shlex.quote(str(each)) for each in wide)
        yield AREA.failure(
            f"others may read {names}: who is behind which tag, or who may be enrolled", f"chmod 600 {names}"
        )
    else:
        yield AREA.ok(f"the registry {path} and its key are readable by their owner only")


def _private(root: Path) -> list[Path]:
    found = [path for pattern in _PRIVATE for path in sorted(root.glob(pattern)) if path.is_file()]
    return [*(root / name for name in ("keys", "secrets") if (root / name).is_dir()), *found]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _inside(path: Path, root: Path) -> str:
    return str(root if path == root else path.relative_to(root))


def _user(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
