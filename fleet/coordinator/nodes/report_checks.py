"""Checks of whatever a node reports, before any of it is stored: numbers, texts, costs; and what a report comes to."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.node import decreased, out_of_range
from fleet.errors import FleetError

logger = logging.getLogger(__name__)

#: Largest integer of a database column; the wire's unsigned numbers go further.
MAX_INTEGER = 2**63 - 1
#: A hello's nonce, a digest, a key: nothing of this kind is longer.
MAX_NONCE_BYTES = 64
MAX_TEXT = 2000
#: Things and styles that a backbone can know.
MOST_CONCEPTS = 256
#: Of an energy model; the columns have as many.
MAX_NAME = 64

_COST_FIELDS = ("energy_j", "seconds", "bytes", "cell_writes")
_OVERHEAD_FIELDS = (
    *_COST_FIELDS,
    "reprogramming_ratio",
    "reprogramming_energy_j",
    "reprogramming_seconds",
    "reprogramming_cell_writes",
    "radio_energy_j",
    "reprogramming_ratio_with_radio",
)


class ReportError(FleetError):
    """A node says what it cannot say: the stream is closed."""


class QuarantineError(FleetError):
    """A report that is put aside instead of being acted upon; the stream stays open."""


@dataclass(frozen=True)
class Effect:
    """Consequence of a report."""

    replies: tuple[wire.ConnectResponse, ...] = ()
    #: Others must look again: the store says something new.
    changed: bool = False


def check_bounds(message: Message) -> None:
    """Refuse a message with a number that cannot be stored or a text that nobody would read.

    Raises `QuarantineError` with the field and what is in it.
    """
    for field, value in message.ListFields():
        if not field.is_repeated:
            _check(field, value)
        elif not (field.message_type and field.message_type.GetOptions().map_entry):
            for one in value:
                _check(field, one)


def _check(field: FieldDescriptor, value: object) -> None:
    # By what most values are: every number of every report comes by here.
    match value:
        case int():
            wrong = f"is {value}: no number that can be counted to" if value > MAX_INTEGER else ""
        case float():
            wrong = "" if math.isfinite(value) else f"is {value}"
        case str():
            wrong = f"has {len(value)} characters, at most {MAX_TEXT} are taken" if len(value) > MAX_TEXT else ""
        case Message():
            check_bounds(value)
            return
        case _:
            return
    if wrong:
        raise QuarantineError(f"{field.containing_type.name}.{field.name} {wrong}")


def check_nonce(name: str, nonce: bytes) -> None:
    """Refuse a nonce of a size that none has; it is signed and sent back."""
    if len(nonce) > MAX_NONCE_BYTES:
        raise QuarantineError(f"{name} has {len(nonce)} bytes, at most {MAX_NONCE_BYTES} are taken")


def check_telemetry(telemetry: wire.Telemetry, before: wire.Telemetry) -> None:
    """Refuse telemetry that cannot be true.

    Raises `QuarantineError` if a number is out of range, or a cumulative one has become less; or a text is too long.

    `before` is what the node reported last on the same stream.
    """
    cumulative = _numbers(telemetry.costs) | _counters(telemetry)
    _refuse("telemetry", out_of_range({**cumulative, "subject_adapters": telemetry.subject_adapters}))
    phases = [cost.phase for cost in telemetry.costs]
    if len(set(phases)) != len(phases):
        _refuse("telemetry", "a phase is listed twice")
    if max(len(telemetry.energy_model.name), len(telemetry.energy_model.version)) > MAX_NAME:
        _refuse("telemetry", f"name or version of the energy model has more than {MAX_NAME} characters")
    _refuse("telemetry", decreased(_numbers(before.costs) | _counters(before), cumulative))


def check_overhead(overhead: types.DeploymentOverhead) -> None:
    """Refuse a deployment overhead that cannot be true; raises `QuarantineError`."""
    _refuse("deployment overhead", out_of_range({n: getattr(overhead, n) for n in _OVERHEAD_FIELDS}))


def possible_chip(node_id: str, chip: types.ChipFigures) -> types.ChipFigures:
    """Return what a node says of its chip; nothing if that cannot be true, which is no reason to leave it out."""
    ratios = {band.ratio for band in chip.ratios}
    sound = (
        ratios <= set(types.PaperRatio.values()) - {types.PAPER_RATIO_UNSPECIFIED}
        and len(ratios) == len(chip.ratios)
        and all(0 < band.low <= band.high < math.inf and 0 < band.value < math.inf for band in chip.ratios)
        and 0 <= chip.endurance_left <= 1
    )
    if not sound:
        logger.warning("node %s says of its chip what cannot be true: %s", node_id, str(chip)[:200])
    return chip if sound else types.ChipFigures()


def _numbers(costs: Sequence[types.PhaseCost]) -> dict[str, float]:
    return {f"phase {cost.phase}, {name}": getattr(cost, name) for cost in costs for name in _COST_FIELDS}


def _counters(telemetry: wire.Telemetry) -> dict[str, float]:
    return {"inferences": telemetry.inferences, "stale_inferences_refused": telemetry.stale_inferences_refused}


def _refuse(what: str, reason: str) -> None:
    if reason:
        raise QuarantineError(f"{what}: {reason}")
