"""Scheduler: events in virtual time, in one order for one seed; and the clocks that run by it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

#: When a simulation begins by the clocks on the wall, Unix ms: 2026-01-01.
EPOCH_MS = 1_767_225_600_000
#: Machines have been up for an hour by then.
_UPTIME_S = 3600.0


@dataclass(eq=False, slots=True)
class Event:
    """An action that waits for its time."""

    action: Callable[[], None] | None

    def cancel(self) -> None:
        """Let it not happen."""
        self.action = None


class Scheduler:
    """Queue of events, and the time, which only they move on: a whole number of microseconds since the beginning."""

    def __init__(self) -> None:
        self.now_us = 0
        #: Events that have happened.
        self.happened = 0
        # By time (us); of equal times, the event that was asked for first.
        self._queue: list[tuple[int, int, Event]] = []
        self._asked = 0

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self.now_us / 1e6

    def at(self, when_s: float, action: Callable[[], None]) -> Event:
        """Have something happen at a time, or now if that has passed."""
        self._asked += 1
        event = Event(action)
        heapq.heappush(self._queue, (max(self.now_us, round(when_s * 1e6)), self._asked, event))
        return event

    def after(self, delay_s: float, action: Callable[[], None]) -> Event:
        """Have something happen in so many seconds."""
        return self.at(self.now_us / 1e6 + delay_s, action)

    def run_until(self, until_s: float) -> None:
        """Let everything happen that is due by then, and stop there."""
        until_us = round(until_s * 1e6)
        while self._queue and self._queue[0][0] <= until_us:
            at_us, _, event = heapq.heappop(self._queue)
            if (action := event.action) is not None:
                self.now_us = at_us
                self.happened += 1
                action()
        self.now_us = max(self.now_us, until_us)


class VirtualClock:
    """Clock of one machine: `edge_node`'s `Clock`, and what tells a coordinator the time.

    The clock on the wall may be set; that since boot may not, and begins anew with a boot.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        #: By how much (ms) the clock on the wall is wrong.
        self.wrong_ms = 0
        self._boots, self._booted_s = 1, -_UPTIME_S

    def boottime_s(self) -> float:
        """Return seconds since boot."""
        return self._scheduler.now_s - self._booted_s

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return EPOCH_MS + self.wrong_ms + self._scheduler.now_us // 1000

    def boot_id(self) -> str:
        """Return which boot this is."""
        return f"boot-{self._boots}"

    def boot(self) -> None:
        """Start the machine anew."""
        self._boots, self._booted_s = self._boots + 1, self._scheduler.now_s
