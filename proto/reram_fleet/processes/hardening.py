"""Hardening of a process that holds keys or what is personal: its memory reaches no file and no neighbour."""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2), with one argument; `OSError` if the kernel refuses it."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")


def keep_memory_private() -> None:
    """Turn core dumps off, for this process and what it starts, and close its memory to its own user.

    The limit alone would not do: it does not hold where the kernel pipes cores to a program (core(5)). A process that
    is not dumpable writes none, and its user's other processes cannot read its /proc/PID/mem. One that execs another
    program is dumpable again, and has to ask again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl(PR_SET_DUMPABLE, 0)


def keep_files_private() -> None:
    """Let nobody else read files that this process and what it starts make from now on."""
    os.umask(0o077)
