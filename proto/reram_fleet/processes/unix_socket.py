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


def is_too_long(path: Path) -> bool:
    """Whether a path is longer than what a program can bind or connect to by its name."""
    return len(os.fsencode(path)) > LONGEST_PATH


def kernel_address(address: str) -> tuple[str, int | None]:
    """Return an address that the kernel takes, and a descriptor that must stay open as long as it is used, if any.

    A path that is too long begins at its folder, which is opened for that.
    """
    path = Path(address.removeprefix(UNIX))
    if not is_unix(address) or not is_too_long(path):
        return address, None
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        # Nobody is there, and whoever connects is told so: by a name that is short enough.
        return f"{UNIX}/proc/self/fd/absent/{path.name}", None
    return f"{UNIX}/proc/self/fd/{folder}/{path.name}", folder


def socket_address(path: Path) -> str:
    """Return the address of a service whose socket is going to be at a path.

    Raises
    ------
    InvalidInputError
        If others than this user enter its folder.
    ConflictError
        If somebody listens there.
    """
    path = path.absolute()
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
    address = f"{UNIX}{path}"
    if _is_listened_to(address):
        raise ConflictError(f"somebody listens on {path} already", hint="end that process first, or take another path")
    return address


def _is_listened_to(address: str) -> bool:
    """Whether a connection is taken; gRPC would remove the socket, and take its place."""
    target, descriptor = kernel_address(address)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_S)
            probe.connect(target.removeprefix(UNIX))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        # No socket, or one that does not answer: not ours to remove.
        return True
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True
