"""Faults as they are brought about, and when they end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import psutil

from tests.faults.real.fleet import HurtFleet
from tests.faults.real.links import Link
from tests.faults.real.moments import Moments
from tests.faults.real.plans import Kind, Step


@dataclass
class Hands:
    """Whatever hurts a fleet, and lets go of it again."""

    fleet: HurtFleet
    moments: Moments
    #: What ends a fault, and when that is due (s).
    _ends: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    #: Processes that stand still, by name.
    stopped: dict[str, psutil.Process] = field(default_factory=dict)
    #: Since when (s) the coordinator has given no lease for certain; None: it may be doing so.
    silent_since_s: float | None = None

    def hurt(self, step: Step) -> str:
        """Do what a step says; returns what came of it, if that is not what it says."""
        return _DOES[step.kind](self, step) or ""

    def let_go(self) -> None:
        """End the faults that are due."""
        due = [end for at_s, end in self._ends if at_s <= self.moments.now_s]
        self._ends = [each for each in self._ends if each[0] > self.moments.now_s]
        for end in due:
            end()

    def let_go_of_all(self) -> None:
        """End every fault now."""
        while self._ends:
            _, end = self._ends.pop(0)
            end()

    def next_end_s(self) -> float:
        """Return when the next fault ends."""
        return min((at_s for at_s, _ in self._ends), default=float("inf"))

    def _until(self, lasts_s: float, end: Callable[[], None]) -> None:
        self._ends.append((self.moments.now_s + lasts_s, end))

    def end_process(self, step: Step) -> str:
        """Send a process the signal of a kill, or of an orderly end."""
        process = self.fleet.process(step.who)
        if process is None:
            return "it does not run"
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL if step.kind is Kind.KILL else signal.SIGTERM)
        return ""

    def stop_process(self, step: Step) -> str:
        """Have a process stand still."""
        process = self.fleet.process(step.who)
        if process is None or step.who in self.stopped:
            return "it does not run" if process is None else "it stands still already"
        process.send_signal(signal.SIGSTOP)
        self.stopped[step.who] = process
        if step.who == "coordinator":
            self.silent_since_s = self.moments.now_s
        self._until(step.values["lasts_s"], partial(self._go_on, step.who))
        return ""

    def _go_on(self, who: str) -> None:
        if who == "coordinator":
            self.silent_since_s = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self.stopped.pop(who).send_signal(signal.SIGCONT)

    def fill_disk(self, step: Step) -> str:
        """Leave no room in a folder."""
        disk = self.fleet.disks[step.who]
        disk.fill(self.fleet.process(step.who))
        self._until(step.values["lasts_s"], disk.free)
        return "" if disk.is_mounted else "by a limit of the process: no file system can be mounted here"

    def lose_bytes(self, step: Step) -> str:
        """Lose what is sent over a link, in one direction or both."""
        link = self._link(step)
        link.lose(*([step.values["lost"]] if step.kind is Kind.HALF_OPEN else ["up", "down"]))
        self._until(step.values["lasts_s"], link.lose)
        return ""

    def slow_link(self, step: Step) -> str:
        """Carry what is sent over a link later."""
        link = self._link(step)
        link.delay(step.values.get("delay_s", 0.5))
        self._until(step.values["lasts_s"], partial(link.delay, 0.0))
        return ""

    def reset_link(self, step: Step) -> str:
        """Reset the connections of a link."""
        self._link(step).reset()
        return ""

    def lose_packets(self, step: Step) -> str:
        """Lose a share of the packets in a network namespace."""
        namespace = self._link(step).namespace
        if namespace is None or not namespace.lose(step.values["percent"]):
            self.slow_link(step)
            return "no packet filter can be set here: the link is slow instead"
        self._until(step.values["lasts_s"], partial(namespace.lose, 0))
        return ""

    def unplug(self, step: Step) -> str:
        """Take the interface of a network namespace down."""
        namespace = self._link(step).namespace
        if namespace is None:
            self.lose_bytes(step)
            return "no network namespace can be made here: what is sent is lost instead"
        namespace.plug(up=False)
        self._until(step.values["lasts_s"], partial(namespace.plug, up=True))
        return ""

    def end_database(self, step: Step) -> str:
        """End PostgreSQL, in order or not."""
        database = self.fleet.database
        assert database is not None
        if not database.runs:
            return "it does not run"
        database.kill() if step.kind is Kind.DATABASE_KILLED else database.stop()
        self._until(step.values["down_s"], database.start)
        return ""

    def _link(self, step: Step) -> Link:
        return self.fleet.links[int(step.who.partition("-")[2]) - 1]


_DOES: Mapping[Kind, Callable[[Hands, Step], str]] = {
    Kind.UPGRADE: Hands.end_process,
    Kind.KILL: Hands.end_process,
    Kind.STOP: Hands.stop_process,
    Kind.DISK_FULL: Hands.fill_disk,
    Kind.BYTES_LOST: Hands.lose_bytes,
    Kind.HALF_OPEN: Hands.lose_bytes,
    Kind.SLOW_LINK: Hands.slow_link,
    Kind.RESET_LINK: Hands.reset_link,
    Kind.PACKETS_LOST: Hands.lose_packets,
    Kind.UNPLUGGED: Hands.unplug,
    Kind.DATABASE_KILLED: Hands.end_database,
    Kind.DATABASE_RESTARTED: Hands.end_database,
}
