"""`python -m tests.bench.fleet_memory BACKBONE NODES`: the memory that a fleet of chips takes.

Each measurement is a process of its own, since a process never gives its peak back. The peak is the kernel's
VmHWM: `resource.getrusage` would begin at that of the process which started this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tests.bench.face_backbones import FLEETS

NODES = 1000
#: Longer is a hang.
LIMIT_S = 600.0


@dataclass(frozen=True)
class FleetRun:
    """One photo through the tile-accurate chips of a fleet, programming included."""

    peak_bytes: int
    seconds: float


def measured(backbone: str, nodes: int = NODES) -> FleetRun:
    """Run a fleet in a child process and return what it took, libraries included."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.fleet_memory", backbone, str(nodes)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return FleetRun(**json.loads(done.stdout))


def main(arguments: list[str]) -> None:
    """Run one fleet and print what it took as JSON."""
    backbone, nodes = arguments[0], int(arguments[1])
    torch.set_num_threads(1)
    started = time.perf_counter()
    FLEETS[backbone]([f"node-{k}" for k in range(nodes)])
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps(asdict(FleetRun(peak_bytes(), seconds))) + "\n")


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
