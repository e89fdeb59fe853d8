"""The wire's enums in the words of the domain, and back."""

from __future__ import annotations

from reram_fleet.v1 import types_pb2 as types

from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState


def serve_state(value: types.ServeState) -> ServeState:
    """Return the domain's word; unknown values are unspecified."""
    name = types.ServeState.Name(value) if value in types.ServeState.values() else ""
    return ServeState(name.removeprefix("SERVE_STATE_").lower() or "unspecified")


def quarantine_reason(value: types.QuarantineReason) -> QuarantineReason:
    """Return the domain's word; unknown values are unspecified."""
    name = types.QuarantineReason.Name(value) if value in types.QuarantineReason.values() else ""
    return QuarantineReason(name.removeprefix("QUARANTINE_REASON_").lower() or "unspecified")


def phase_name(value: types.EnergyPhase) -> EnergyPhase | None:
    """Return the domain's word of a phase; None if it is unspecified, or of a newer version than this one."""
    name = types.EnergyPhase.Name(value) if value in types.EnergyPhase.values() else ""
    word = name.removeprefix("ENERGY_PHASE_").lower()
    return EnergyPhase(word) if word in set(EnergyPhase) else None


def wire_serve_state(state: ServeState) -> types.ServeState:
    """Return the wire's value."""
    return types.ServeState.Value(f"SERVE_STATE_{state.name}")


def wire_quarantine_reason(reason: QuarantineReason) -> types.QuarantineReason:
    """Return the wire's value."""
    return types.QuarantineReason.Value(f"QUARANTINE_REASON_{reason.name}")


def wire_phase(phase: EnergyPhase) -> types.EnergyPhase:
    """Return the wire's value."""
    return types.EnergyPhase.Value(f"ENERGY_PHASE_{phase.name}")
