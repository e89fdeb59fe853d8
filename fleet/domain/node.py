"""A node as the fleet sees it: states that it reports, bounds of what it can have spent, limits of waiting for it.

Each state is the lower-case name of the wire's enum member without its prefix, as in database, metrics and CLI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

#: A watt for thirty years.
MAX_ENERGY_J = 1e9
#: Three centuries.
MAX_SECONDS = 1e10
#: Bytes, cell writes, inferences, ratios: what a float64 still counts one by one.
MAX_COUNT = 2**53
#: Times that a node which comes back re-opens one forget by itself; then it takes an operator. Else one that
#: comes and goes could keep a forget from converging for ever.
MAX_RETURNS = 3


class ServeState(StrEnum):
    """State of a node: its adapters take part in its answers, or not."""

    #: Not reported since the enrolment.
    UNSPECIFIED = "unspecified"
    SERVING = "serving"
    QUARANTINED = "quarantined"


class QuarantineReason(StrEnum):
    """Reason for which adapters are detached."""

    #: Not quarantined.
    UNSPECIFIED = "unspecified"
    NO_LEASE = "no_lease"
    LEASE_EXPIRED = "lease_expired"
    BEHIND_GENERATION = "behind_generation"
    GAP = "gap"
    HELD = "held"
    STARTING = "starting"


class EnergyPhase(StrEnum):
    """Phase that joules, seconds, bytes and cell writes were spent on."""

    PROGRAM = "program"
    INFER = "infer"
    TRAIN = "train"
    ERASE = "erase"
    VERIFY = "verify"
    RADIO = "radio"


def out_of_range(values: Mapping[str, float]) -> str:
    """Return what is wrong with the first number that no node can have spent; "" if nothing is.

    Of the names, joules end in `_j` and times in `seconds`; all others are counts or ratios.
    """
    for name, value in values.items():
        most = MAX_ENERGY_J if name.endswith("_j") else MAX_SECONDS if name.endswith("seconds") else MAX_COUNT
        # NaN compares as false.
        if not (math.isfinite(value) and 0 <= value <= most):
            return f"{name} must lie in 0..{most:.3g}, got {value:.6g}"
    return ""


def decreased(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return which cumulative number has become less, or is missing; "" if none has."""
    for name, value in before.items():
        if after.get(name, 0) < value:
            return f"{name} is cumulative, and went from {value:.6g} to {after.get(name, 0):.6g}"
    return ""


@dataclass(frozen=True)
class ContactLimits:
    """Time that a forget waits for a node that is not connected."""

    #: Since its last contact, the first time.
    lost_after_ms: int
    #: Since it came back, once it was lost: it is not given the long time anew.
    lease_ms: int

    def is_over(self, now_ms: int, *, last_contact_ms: int, lease_until_ms: int, returned_at_ms: int | None) -> bool:
        """Whether a node that is not connected is given up: for the first time, or again.

        It may have got a longer lease than today's are; before its end nothing is certain. `returned_at_ms` is when it
        last came back after it was lost, if it ever did.
        """
        if returned_at_ms is not None:
            return now_ms - returned_at_ms > self.lease_ms
        return now_ms > max(last_contact_ms + self.lost_after_ms, lease_until_ms)


def may_return(returns: int) -> bool:
    """Whether a node that has come back so often re-opens the forget once more."""
    return returns < MAX_RETURNS
