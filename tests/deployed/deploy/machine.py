"""A machine of the test's own: systemd as process 1 of new namespaces, over a copy of the file system.

What is written there, and every process, is gone with it. Its loopback interface is its own, so all ports are free. The
project under test is installed in /opt/reram-fleet, and its tree is /opt/tree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.components import WITHOUT_ROOT, lacking
from tests.house import ROOT

_BOOT = Path(__file__).parent / "boot.sh"
_NAMESPACES = ("--pid", "--fork", "--kill-child=KILL", "--mount", "--net", "--ipc", "--uts", "--cgroup")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT_S = 60.0
_PAGE_S = 240.0


def wanted() -> None:
    """Skip the test where something is not installed, or the kernel lets no such machine be; in CI, fail it."""
    if reason := _missing() or _impossible():
        lacking(reason)


def _impossible() -> str:
    """Return why this machine can hold no other, whatever is installed; empty if it can."""
    if WITHOUT_ROOT:
        return "namespaces of a machine want root"
    if _cgroups() is None:
        return "this machine has no cgroup v2 hierarchy"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip()


def _missing() -> str:
    """Return which program is not installed that it wants; empty if none."""
    for program in ("unshare", "nsenter", "systemctl", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install systemd util-linux nftables"
    return ""


def _cgroups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(mounted)
    return None


class Machine:
    """The machine, while it runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        #: What a script finds exported: of the shell of whoever has set up the machine.
        self.exported: tuple[str, ...] = ()

    def run(self, script: str, timeout_s: float = 120.0) -> str:
        """Run a script of the shell as root, in the tree, and return what it prints; `AssertionError` if it fails."""
        done = subprocess.run(
            [
                *("nsenter", "--target", str(self._pid), "--all", "--wdns=/opt/tree"),
                *("env", "-i", "HOME=/srv", "LANG=C.UTF-8", f"PATH=/opt/reram-fleet/bin:{_PATH}"),
                *("sh", "-euc", "\n".join([*self.exported, script])),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def type(self, lines: Iterable[str]) -> None:
        """Run the commands of a page, as if somebody typed them; `AssertionError` with what services have written."""
        try:
            self.run("\n".join(lines), timeout_s=_PAGE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None

    def wait(self, script: str, timeout_s: float = 60.0) -> str:
        """Run a script again and again until it succeeds, and return what it prints."""
        deadline, pause_s = time.monotonic() + timeout_s, 0.5
        while True:
            try:
                return self.run(script)
            except AssertionError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{error}\n{self.journal()}") from None
                time.sleep(pause_s)
                # Most scripts start a `fleet` of their own, on the cores that who is awaited may want.
                pause_s = min(1.5 * pause_s, 2.0)

    def journal(self) -> str:
        """Return the newest lines that services have written."""
        return self.run("journalctl --no-pager --lines=150 --output=short-monotonic")


@contextmanager
def booted() -> Iterator[Machine]:
    """Boot a machine, and end it with all its processes."""
    hierarchy = _cgroups()
    assert hierarchy is not None
    cgroup = Path(tempfile.mkdtemp(prefix="reram-fleet-test-", dir=hierarchy))
    with tempfile.TemporaryDirectory() as layers, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["sh", "-euc", 'echo $$ > "$CGROUP/cgroup.procs"; exec unshare "$@"', "sh", *_NAMESPACES, "sh", str(_BOOT)],
            env={
                "PATH": _PATH,
                "CGROUP": str(cgroup),
                "LAYERS": layers,
                "ROOT": str(ROOT),
                "SITE": sysconfig.get_path("purelib"),
                "SCRIPTS": sysconfig.get_path("scripts"),
                "PYTHON": sys.base_prefix,
            },
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            yield _wait_booted(process, said)
        finally:
            # Its first process dies with it, and all others with that one.
            process.kill()
            process.wait()
            for folder, _, _ in os.walk(cgroup, topdown=False):
                _remove_cgroup(Path(folder))


def _wait_booted(process: subprocess.Popen[bytes], said: IO[bytes]) -> Machine:
    deadline = time.monotonic() + _BOOT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, ValueError, AssertionError):
            (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                machine = Machine(int(pid))
                machine.run("systemctl is-active basic.target")
                return machine
        time.sleep(0.1)
    said.seek(0)
    raise AssertionError(f"the machine did not boot: {said.read().decode()}")


def _remove_cgroup(folder: Path) -> None:
    # The kernel takes a moment to see that what was killed is gone.
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.05)
