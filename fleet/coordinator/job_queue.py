"""Queueing a learning job with its first state sealed under a key of its own."""

from __future__ import annotations

from collections.abc import Sequence

from reram_fleet.crypto.sealing import seal_symmetric, state_purpose
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import lora_state
from fleet.coordinator.at_rest import job_key_id
from fleet.coordinator.core import Coordinator
from fleet.domain.learning import JobKind
from fleet.domain.tags import new_id
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow


def queue(
    coordinator: Coordinator,
    tx: Transaction,
    *,
    request_id: str,
    request_digest: bytes,
    kind: JobKind,
    rounds: int,
    tags: Sequence[str],
    shape: types.LoraShape,
    known: types.SharedLora,
    forget_tags: tuple[str, ...] = (),
    campaign_id: str | None = None,
) -> LearningJobRow:
    """Queue a job that starts from the rows that exist, and zeros for whoever has none.

    Parameters
    ----------
    tags
        Whose rows it has, in that order.
    shape, known
        Of the LoRA; `known` may have rows of others, and may lack some.
    """
    job_id = new_id(tx.now_ms)
    key = coordinator.secrets.create(job_key_id(job_id))
    state = lora_state.initial_state(tags, shape, known)
    return tx.learning.create(
        job_id,
        request_id=request_id,
        request_digest=request_digest,
        kind=kind,
        rounds=rounds,
        generation=tx.fleet.get().generation,
        tags=tags,
        forget_tags=forget_tags,
        campaign_id=campaign_id,
        sealed_state=seal_symmetric(key, state_purpose(job_id), state.SerializeToString()),
    )
