"""Time of a real history: seconds of the wall since it began."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Moments:
    """Clock of a history; a step is whatever was done or looked at."""

    def __init__(self) -> None:
        # That of the coordinator too, which says in Unix time until when its leases last.
        self._begun_s = time.time()
        self._as_of_s: float | None = None
        #: Steps so far.
        self.happened = 0

    @property
    def now_s(self) -> float:
        """Seconds since the history began."""
        return time.time() - self._begun_s if self._as_of_s is None else self._as_of_s

    def at_s(self, unix_ms: int) -> float:
        """Return the second of a Unix time (ms)."""
        return unix_ms / 1000 - self._begun_s

    @contextmanager
    def as_of(self, moment_s: float) -> Iterator[None]:
        """Have it be an earlier moment: what is seen was so at the earliest when it was asked for."""
        self._as_of_s = moment_s
        try:
            yield
        finally:
            self._as_of_s = None
