"""Closed-form head of a revision, with what it follows from."""

from __future__ import annotations

from dataclasses import dataclass

from reram_fleet.v1 import types_pb2 as types


@dataclass(frozen=True)
class RevisionHead:
    """Closed-form head of a revision."""

    #: Digest of all that it follows from; empty if there is nothing to solve.
    basis: bytes
    #: Without columns if there is none.
    head: types.ClosedFormHead
    #: Why there is none although there are people; "" otherwise.
    error: str = ""
