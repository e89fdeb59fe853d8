"""States that a node reports about itself, in the words that the database, metrics and CLI use.

Each value is the lower-case name of the wire's enum member without its prefix.
"""

from __future__ import annotations

from enum import StrEnum


class ServeState(StrEnum):
    """Whether a node's adapters take part in its answers."""

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
