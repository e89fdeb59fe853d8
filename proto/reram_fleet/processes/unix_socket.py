"""Unix sockets of gRPC services: `unix:PATH`, in a folder that only its user enters."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from reram_fleet.errors import ConflictError, InvalidInputError

#: What the address of a service on a Unix socket begins with; its path follows.
UNIX = "unix:"
#: Of `sun_path` (unix(7)), without the zero byte at its end.
LONGEST_PATH = 107
#: For the kernel to say whether somebody listens on a socket of this machine.
_PROBE_S = 1.0


def is_unix(address: str) -> bool:
    """Whether an address is that of a Unix socket."""
    return address.startswith(UNIX)


def socket_address(path: Path) -> str:
    """Return the address of a service whose socket is going to be at a path.

    Raises
    ------
    InvalidInputError
        If the path is too long for a socket, or others than this user enter its folder.
    ConflictError
        If somebody listens there.
    """
    path = path.absolute()
    check_length(path)
    try:
        folder = path.parent.stat()
    except OSError as error:
        raise InvalidInputError(f"no socket can be made in {path.parent}: {error.strerror or error}") from error
    if folder.st_uid != os.geteuid() or stat.S_IMODE(folder.st_mode) & 0o077:
        raise InvalidInputError(
            f"{path.parent} belongs to user {folder.st_uid} and has mode {stat.S_IMODE(folder.st_mode):04o}: a socket "
            "needs a folder that only its own user enters",
            hint=f"mkdir -m 700 a folder of your own, or chmod 700 {path.parent}",
        )
    if _is_listened_to(path):
        raise ConflictError(f"somebody listens on {path} already", hint="end that process first, or take another path")
    return f"{UNIX}{path}"


def check_length(path: Path) -> None:
    """Refuse a path that is too long for a socket: `InvalidInputError`."""
    if (length := len(os.fsencode(path))) > LONGEST_PATH:
        raise InvalidInputError(
            f"{path} has {length} bytes, and the path of a socket at most {LONGEST_PATH}", hint="take a shorter folder"
        )


def _is_listened_to(path: Path) -> bool:
    """Whether a connection is taken; gRPC would remove the socket, and take its place."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # No socket, or one that does not answer: not ours to remove.
            return True
    return True
