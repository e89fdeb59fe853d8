"""Isolation of the learning plane: which walls stand between Flower, which runs others' code, and the keys."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from reram_fleet.processes.addresses import is_local

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target, listener

AREA = Area("isolation")
_SUPERLINK = "flower-superlink"
#: Namespaces that hide files, processes, and shared memory of the coordinator, and what it listens at.
_NAMESPACES = ("user", "mnt", "pid", "ipc", "net")
_FIX = (
    "run the SuperLink under a user of its own and attach it: fleet serve --flower-attach HOST:PORT --flower-ca FILE; "
    "or do without a learning plane: fleet serve --no-flower"
)


def check_isolation(target: Target) -> Iterator[Finding]:
    """Report what separates the SuperLink, and the ServerApps that it starts, from the coordinator."""
    answer = target.answer
    if answer is None:
        yield AREA.unknown("of the learning plane: no coordinator answers")
        return
    kind, address = answer.fleet.superlink, answer.fleet.superlink_address
    if kind == "disabled":
        yield AREA.ok("there is no learning plane: nothing of Flower runs")
        return
    if target.process is None:
        yield AREA.unknown(f"the SuperLink ({kind}) is on the coordinator's machine", "fleet doctor, there")
        return
    process = _attached(address) if kind == "attached" else embedded(target.process)
    if process is None:
        yield AREA.unknown(f"the process of the SuperLink at {address} ({kind}) is not to be seen from here")
        return
    assert target.folder is not None, "a process was found by a file in it"
    yield from walls(target.process, process, kind, target.folder.keys.absolute())


def embedded(coordinator: psutil.Process) -> psutil.Process | None:
    """Return the SuperLink that a coordinator has started, if it is to be seen."""
    for child in coordinator.children(recursive=True):
        # A run that is over stays a zombie until Flower starts the next; any other process may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            # A reaper above it names it on its command line, too, but farther behind.
            if any(Path(word).name == _SUPERLINK for word in child.cmdline()[:2]):
                return child
    return None


def _attached(address: str) -> psutil.Process | None:
    if not is_local(address):
        return None
    holder = listener(address)
    return None if holder is None or holder.pid is None else psutil.Process(holder.pid)


def walls(coordinator: psutil.Process, superlink: psutil.Process, kind: str, keys: Path) -> Iterator[Finding]:
    """Report what separates two processes, of a SuperLink that is embedded ("running") or attached.

    `keys` is the folder of what must be kept from it. A user of its own is kept out by the mode of that folder; under
    the same one, only a file system that does not have it hides it, together with namespaces of users and processes.
    """
    pairs = {name: (_namespace(superlink.pid, name), _namespace(coordinator.pid, name)) for name in _NAMESPACES}
    own = [name for name, (theirs, ours) in pairs.items() if theirs and ours and theirs != ours]
    walls = [f"namespaces of its own ({', '.join(own)})" if own else "no namespace of its own"]
    if any(None in pair for pair in pairs.values()):
        walls = ["namespaces that this user may not compare"]
    if _status(superlink.pid, "NoNewPrivs") == "1":
        walls.append("no new privileges")
    if _status(superlink.pid, "Seccomp") not in ("", "0"):
        walls.append("a seccomp filter")
    hidden = _hidden_from(superlink.pid, keys)
    walls.append("a file system that " + {True: "has not", False: "has", None: "may have"}[hidden] + f" {keys}")
    same_user = superlink.uids().effective == coordinator.uids().effective
    user = "the coordinator's user" if same_user else f"user {superlink.username()}"
    found = f"the SuperLink ({kind}, process {superlink.pid}) runs under {user}, with {' and '.join(walls)}"
    # Root of the machine is kept out by no user.
    of_its_own = not same_user and superlink.uids().effective != 0
    if of_its_own or (hidden and {"user", "mnt", "pid"} <= set(own)):
        yield AREA.ok(f"{found}: what it starts cannot read the coordinator's keys")
    else:
        yield AREA.warning(
            f"{found}: whoever reaches its Control API starts code that can read the command key, and no Landlock "
            "rules keep it from that",
            _FIX,
        )


def _namespace(pid: int, name: str) -> str | None:
    """Return the id of a process's namespace; None if this user may not see it."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except OSError:
        return None


def _hidden_from(pid: int, path: Path) -> bool | None:
    """Whether the file system that a process sees lacks a path; None if this user may not look."""
    try:
        os.stat(f"/proc/{pid}/root{path}")
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return None
    return False


def _status(pid: int, name: str) -> str:
    """Return a line of what the kernel tells everybody about a process; "" if there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")
