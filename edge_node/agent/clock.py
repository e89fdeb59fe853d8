"""Time as a node uses it: passed in, so that tests own it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What a node asks of time."""

    def boottime_s(self) -> float:
        """Return seconds since boot, suspension included; never set back."""

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds; advisory, except for the expiry of job tickets."""


class SystemClock:
    """CLOCK_BOOTTIME: a device that slept through its lease wakes up without one."""

    def boottime_s(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return time.time_ns() // 1_000_000


def boot_id() -> str:
    """Return the kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
