"""Storage that fails: small file systems that fill up, and a PostgreSQL server that is killed."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
from reram_fleet.processes.supervised import ReapedProcess

from tests.postgres import server_command

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_PRIVATE_ALL, MNT_DETACH = 0x20000, 0x4000 | 0x40000, 2


def mount_privately() -> bool:
    """Have file systems that this thread mounts seen by nobody but what it starts, and gone with them.

    Whether it may mount any.
    """
    return not (_libc.unshare(CLONE_NEWNS) or _libc.mount(b"none", b"/", None, MS_PRIVATE_ALL, None))


class SmallDisk:
    """Folder on a file system of its own that can be filled up.

    Where none may be mounted, a limit of the process stands in: it can write to no file (EFBIG), wherever that is.
    SQLite then tells of an I/O error instead of a full disk; what is there can be read, and deleted, as on a full disk.
    """

    def __init__(self, folder: Path, megabytes: int, *, mounts: bool) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, options = folder, f"size={megabytes}m,mode=0700"
        self.is_mounted = mounts and not _libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, options.encode())
        self._ballast = folder / ".ballast"
        self._limited: list[psutil.Process] = []

    def fill(self, process: psutil.Process | None) -> None:
        """Leave no room; `process` is that which writes to the folder."""
        if self.is_mounted:
            with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(512))
        elif process is not None:
            self._limited.append(process)
            self._limit(process, 0)

    def free(self) -> None:
        """Make room."""
        self._ballast.unlink(missing_ok=True)
        while self._limited:
            process = self._limited.pop()
            for each in _family(process):
                self._limit(each, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(process: psutil.Process, size: int) -> None:
        with contextlib.suppress(psutil.Error):
            _, most = process.rlimit(resource.RLIMIT_FSIZE)
            process.rlimit(resource.RLIMIT_FSIZE, (size, most))

    def close(self) -> None:
        """Unmount it; what is in it is gone."""
        if self.is_mounted:
            _libc.umount2(str(self._folder).encode(), MNT_DETACH)


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    # What it has started meanwhile has its limits.
    with contextlib.suppress(psutil.NoSuchProcess):
        yield process
        yield from process.children(recursive=True)


class Database:
    """A PostgreSQL server of a fleet's own, which may be killed.

    Its folder must be one that the server's user may enter, so it is a temporary one.
    """

    def __init__(self, programs: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="reram-fleet-hurt-"))
        self._folder.chmod(0o755)
        self._data = self._folder / "data"
        command, log = server_command(self._data, programs), self._folder / "server.log"
        self._process = ReapedProcess("postgresql", command, log, working_directory=Path("/"))
        self.url = f"postgresql+psycopg://fleet@/postgres?host={self._data}"

    def start(self) -> None:
        """Start it; returns once it answers."""
        self._process.start()
        for _ in range(600):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(host=str(self._data), user="fleet", dbname="postgres", connect_timeout=5).close()
                return
            time.sleep(0.05)
        raise AssertionError(self._process.log_path.read_text())

    def kill(self) -> None:
        """End it as a power cut would; returns once all of it is gone."""
        self._process.kill()

    def stop(self) -> None:
        """End it in order, with those who are connected."""
        if (reaper := self._process.pid) is not None:
            for server in psutil.Process(reaper).children():
                server.send_signal(signal.SIGINT)
            self._process.wait(15.0)

    @property
    def runs(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._process.alive

    def close(self) -> None:
        """End it, and delete its files."""
        self._process.stop()
        shutil.rmtree(self._folder)
