"""One line of a check: what was looked at, what should be there, what is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

#: Longest text of one side of a comparison: what a node says goes into logs, views and signed events.
_MAX_SHOWN = 400


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


def checks_digest(lines: Iterable[CheckLine]) -> bytes:
    """Return the SHA-256 (32 bytes) of lines, by which a certificate binds them."""
    return hashlib.sha256(json.dumps([[x.name, x.holds, x.expected, x.got] for x in lines]).encode()).digest()


def failures(lines: Iterable[CheckLine]) -> tuple[CheckLine, ...]:
    """Return the lines that do not hold."""
    return tuple(line for line in lines if not line.holds)


def _shown(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    if len(text) > _MAX_SHOWN:
        text = f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"
    return text or "(none)"
