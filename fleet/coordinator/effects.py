"""Consequences of something that a node says."""

from __future__ import annotations

from dataclasses import dataclass

from reram_fleet.v1 import node_pb2 as wire

from fleet.errors import FleetError


class ReportError(FleetError):
    """A node says what it cannot say: the stream is closed."""


class QuarantineError(FleetError):
    """A report that is put aside instead of being acted upon; the stream stays open."""


@dataclass(frozen=True)
class Effect:
    """What follows from a report."""

    replies: tuple[wire.ConnectResponse, ...] = ()
    #: Others must look again: the store says something new.
    changed: bool = False
