"""B factor of the LoRA: floats in the sealed state of a learning job, integers once installed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import job_key_id
from fleet.coordinator.work import Part
from fleet.domain.learning import JobKind
from fleet.domain.tags import new_id
from fleet.learning.errors import StateError
from fleet.learning.sealed_states import arrays_of, seal_state, state_of
from fleet.store.rows import LearningJobRow


def initial_state(tags: Sequence[str], shape: types.LoraShape, known: types.SharedLora | None) -> types.LoraState:
    """Return the state from which a job starts: rows that exist, zeros for new people.

    `numerator` is float32 [tags, rank], `weight` is ones [tags].
    """
    rows = {row.subject_tag: row.codes for row in known.rows} if known is not None else {}
    factor = np.zeros((len(tags), shape.rank), np.float32)
    for index, tag in enumerate(tags):
        if tag in rows:
            factor[index] = np.asarray(rows[tag], np.float64) * 2.0**-shape.scale_bits
    return state_of(tags, factor, np.ones(len(tags), np.float32))


class JobQueue(Part):
    """Queue of learning jobs."""

    def add(
        self,
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

        `tags` are whose rows it has, in that order; `known` may have rows of others, and may lack some.
        """
        job_id = new_id(self._tx.now_ms, self._env.randomness.draw)
        key = self._env.secrets.create(job_key_id(job_id))
        return self._tx.learning.create(
            job_id,
            request_id=request_id,
            request_digest=request_digest,
            kind=kind,
            rounds=rounds,
            generation=self._tx.fleet.get().generation,
            tags=tags,
            forget_tags=forget_tags,
            campaign_id=campaign_id,
            sealed_state=seal_state(job_id, key, initial_state(tags, shape, known), self._env.randomness.draw),
        )


def factor_of(state: types.LoraState) -> npt.NDArray[np.float64]:
    """Return B, float64 [tags, rank], of a state; raises as `arrays_of`."""
    numerator, weight = arrays_of(state)
    return numerator.astype(np.float64) / weight.astype(np.float64)[:, None]


def quantise(state: types.LoraState, shape: types.LoraShape) -> types.SharedLora:
    """Return the installable LoRA: rows of int32 codes at 2^-scale_bits, sorted by tag.

    Raises `StateError` also if a value does not fit int32 at this scale.
    """
    codes = np.rint(factor_of(state) * 2.0**shape.scale_bits)
    if codes.size and np.abs(codes).max() >= 2**31:
        raise StateError(f"a LoRA weight exceeds int32 at 2^-{shape.scale_bits}")
    rows = [
        types.LoraRow(subject_tag=tag, codes=row)
        for tag, row in sorted(zip(state.subject_tags, codes.astype(np.int64).tolist(), strict=True))
    ]
    return types.SharedLora(shape=shape, rows=rows)


def without(lora: types.SharedLora, tags: Collection[str]) -> types.SharedLora:
    """Return a LoRA without the rows of some people."""
    return types.SharedLora(shape=lora.shape, rows=[row for row in lora.rows if row.subject_tag not in tags])
