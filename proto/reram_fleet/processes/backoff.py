"""Exponential back-off with jitter: waiting times of links, supervised processes and learning jobs."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Waits (in seconds) whose bound doubles with every failure.

    Jitter spreads a fleet that lost its coordinator at one moment (Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015).
    """

    #: Bound after the first failure, and largest bound.
    first_s: float
    longest_s: float
    #: Part of the bound that is waited in any case, 0 to 1; 0 is full jitter.
    least: float = 0.5

    def delay_s(self, failures: int, jitter: float | None = None) -> float:
        """Return the wait after this many failures in a row (1, 2, ...); `jitter` in [0, 1) is random if None."""
        bound = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return bound * (self.least + (1.0 - self.least) * (random.random() if jitter is None else jitter))
