"""LoRA states under the key of their job; without Flower, since the coordinator reads them too."""

from __future__ import annotations

import os
from collections.abc import Callable

from google.protobuf.message import DecodeError
from reram_fleet.crypto.sealing import SealError, open_symmetric, seal_symmetric, state_purpose
from reram_fleet.v1.types_pb2 import LoraState
from reram_fleet.wire.lora_states import LoraStateError, StateArrays

from fleet.learning.errors import StateError


def seal_state(job_id: str, key: bytes, state: StateArrays, draw: Callable[[int], bytes] = os.urandom) -> bytes:
    """Encrypt a state under the key of its job."""
    return seal_symmetric(key, state_purpose(job_id), state.encode().SerializeToString(deterministic=True), draw)


def open_state(job_id: str, key: bytes, sealed: bytes) -> StateArrays:
    """Decrypt a state; raises `StateError` if it does not open under this key for this job, or is malformed."""
    try:
        return StateArrays.decode(LoraState.FromString(open_symmetric(key, state_purpose(job_id), sealed)))
    except (SealError, DecodeError, LoraStateError) as error:
        raise StateError(f"a state of job {job_id} ({len(sealed)} bytes) does not open: {error}") from error
