"""Enums of the wire in the words of the domain, and back: the same names, behind the prefix of the wire's enum."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

from reram_fleet.v1 import types_pb2 as types

from fleet.domain.learning import JobKind
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState

Word = TypeVar("Word", bound=StrEnum)


class WireEnum(Generic[Word]):
    """One enum of the wire beside the domain's.

    `words` has the domain's word by the wire's value, `values` the wire's value by the domain's word.
    """

    def __init__(self, wire: Any, prefix: str, words: type[Word]) -> None:
        self.values: dict[Word, Any] = {word: wire.Value(f"{prefix}_{word.name}") for word in words}
        self.words: dict[int, Word] = {value: word for word, value in self.values.items()}


SERVE_STATE = WireEnum(types.ServeState, "SERVE_STATE", ServeState)
QUARANTINE_REASON = WireEnum(types.QuarantineReason, "QUARANTINE_REASON", QuarantineReason)
#: Without a word for phases that are unspecified.
ENERGY_PHASE = WireEnum(types.EnergyPhase, "ENERGY_PHASE", EnergyPhase)
LEARNING_KIND = WireEnum(types.LearningKind, "LEARNING_KIND", JobKind)
