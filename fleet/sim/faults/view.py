"""View of `fleet sim faults`: a history as a readable sequence, and which faults met which states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import RenderableType

from fleet.cli.output import table
from fleet.sim.faults.kinds import FAULTS
from fleet.sim.faults.record import Event, shown
from fleet.sim.faults.rules import Violation

#: Of an event that has much to say, so much is shown.
_WIDTH = 160
#: What a reader of a history need not be told, beside what is quiet in any case.
_LEFT_OUT = frozenset({"end", "store", "start", "trained"})


def sequence(events: Iterable[Event], violations: Iterable[Violation]) -> Iterable[str]:
    """Yield the lines of a history: what was done, what failed, what followed, and which promises were broken."""
    broken: dict[int, list[str]] = {}
    for violation in violations:
        broken.setdefault(id(violation.event), []).append(f"BROKEN {violation.rule}: {violation.what}")
    last = ""
    for event in events:
        quiet = event.is_quiet or event.kind in _LEFT_OUT
        line = _line(event)
        # A node that cannot write says so once a second.
        if not quiet and line != last:
            yield f"{event.step:6d} {event.at_s:8.1f} s  {line}"
            last = line
        for text in broken.get(id(event), ()):
            yield f"{event.step:6d} {event.at_s:8.1f} s  {event.node or 'fleet'}  {text}"


def _line(event: Event) -> str:
    match event.kind:
        case "action":
            return f"* {event.data['what']}"
        case "dies":
            return str(event.data["how"])
        case _:
            said = " ".join(f"{name}={shown(value)}" for name, value in event.data.items() if value not in ("", None))
            return f"{event.node or 'coordinator'}  {event.kind} {said}"[:_WIDTH]


def coverage(met: Mapping[tuple[str, str], int]) -> RenderableType:
    """Return how often each kind of fault met each state of the protocol."""
    rows = []
    for kind in FAULTS:
        mine = sorted(((times, state) for (fault, state), times in met.items() if fault == kind), reverse=True)
        rows.append((kind.value, ", ".join(f"{state} {times}" for times, state in mine) or "never"))
    return table("Faults, and the states of the protocol that they met", ["fault", "met"], rows)
