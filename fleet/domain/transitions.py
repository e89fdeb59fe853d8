"""State machines as tables of legal steps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from fleet.errors import IllegalTransitionError

State = TypeVar("State", bound=StrEnum)


def check_step(what: str, steps: Mapping[State, frozenset[State]], current: State, target: State) -> State:
    """Return `target` if the step is legal; else `IllegalTransitionError` says what would have been."""
    if target not in steps[current]:
        legal = ", ".join(sorted(steps[current])) or "nothing: it is final"
        raise IllegalTransitionError(f"{what} cannot go from {current} to {target} (legal: {legal})")
    return target
