"""One line of a check: what was looked at, what should be there, what is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckLine:
    """Outcome of one comparison, in text that an auditor reads."""

    name: str
    holds: bool
    expected: str
    got: str

    def __str__(self) -> str:
        if self.holds:
            return f"{self.name}: ok ({self.got})"
        return f"{self.name}: expected {self.expected}, got {self.got}"


def compare(name: str, expected: object, got: object) -> CheckLine:
    """Return the line of an equality check; bytes are shown in hexadecimal."""
    return CheckLine(name, expected == got, _shown(expected), _shown(got))


def failures(lines: Iterable[CheckLine]) -> tuple[CheckLine, ...]:
    """Return the lines that do not hold."""
    return tuple(line for line in lines if not line.holds)


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex() or "(none)"
    return str(value) if value != "" else "(none)"
