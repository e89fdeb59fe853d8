"""Cohort shard of a person: one rule for coordinator, nodes and auditors."""

from __future__ import annotations

import hashlib
import struct

# The streams of `hwmodel` use the same encoding, so that nodes and laboratory find the same shards.
_DOMAIN = b"hwmodel/stream/v1\0"
_PURPOSE = "cohort.shard"


def shard_of(tag: str, seed: int, shards: int) -> int:
    """Return a person's shard, 0 to shards - 1: a keyed hash of their tag, never a matter of balance.

    It depends on the tag alone, so whoever enters or is forgotten moves nobody else. `ValueError` if there is no shard.
    """
    if shards < 1:
        raise ValueError(f"a fleet has at least one shard; got {shards}")
    parts = (b"i", str(seed)), (b"s", _PURPOSE), (b"s", tag)
    key = b"".join(kind + struct.pack("<Q", len(text.encode())) + text.encode() for kind, text in parts)
    return int.from_bytes(hashlib.sha256(_DOMAIN + key).digest()[:8], "little") % shards


def fleet_seed(fleet_id: str) -> int:
    """Return the seed of a fleet's shards, 63 bits, from its id."""
    return int.from_bytes(hashlib.sha256(f"reram-fleet/cohorts/{fleet_id}".encode()).digest()[:8], "big") >> 1
