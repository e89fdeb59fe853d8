"""Leases in memory, out of blocks that the store has reserved."""

from __future__ import annotations

from dataclasses import dataclass

#: Lease numbers that are reserved at once, ...
BLOCK = 10_000
#: ... and how much longer than a lease they may be used: a minute, or a hundredth of the lease if that is more.
_HORIZON_MS, _OF_LEASE = 60_000, 100


def horizon_ms(lease_ms: int) -> int:
    """Return how much longer (ms) than such a lease what is reserved may be used."""
    return max(_HORIZON_MS, lease_ms // _OF_LEASE)


@dataclass
class LeaseBook:
    """Numbers of leases that were reserved, and the time that no lease outlives."""

    next_number: int = 1
    last_number: int = 0
    horizon_ms: int = 0

    def covers(self, until_ms: int) -> bool:
        """Whether a lease until then (Unix ms) can be granted."""
        return self.next_number <= self.last_number and until_ms <= self.horizon_ms

    def take(self) -> int:
        """Return the number of a lease."""
        self.next_number += 1
        return self.next_number - 1

    def reserved(self, last_number: int, horizon_ms: int) -> None:
        """Use what was reserved: it is durable."""
        self.next_number, self.last_number, self.horizon_ms = last_number - BLOCK + 1, last_number, horizon_ms
