"""Deadline: waiting for something to become true, no longer than agreed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fleet.local.errors import TimedOutError

T = TypeVar("T")


@dataclass(frozen=True)
class Deadline:
    """End of a wait, on the monotonic clock."""

    timeout_s: float
    ends_at_s: float

    @classmethod
    def of(cls, timeout_s: float) -> Deadline:
        """Return a deadline that ends in this many seconds."""
        return cls(timeout_s, time.monotonic() + timeout_s)

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.ends_at_s - time.monotonic())

    def until(
        self, what: str, probe: Callable[[], T | None], *, poll_s: float = 0.2, hint: Callable[[], str] = str
    ) -> T:
        """Return the first answer of `probe` that is not None; at least one is asked for.

        Raises
        ------
        TimedOutError
            If none came in time; `hint` then says what may be done about it.
        """
        while True:
            answer = probe()
            if answer is not None:
                return answer
            if self.left_s == 0.0:
                raise TimedOutError(f"gave up after {self.timeout_s:.3g} s waiting until {what}", hint=hint())
            time.sleep(min(poll_s, self.left_s))
