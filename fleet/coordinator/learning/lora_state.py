"""LoRA between a learning job's sealed state and a revision: the same integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.lora_states import StateArrays
from reram_fleet.wire.shared_lora import in_shape, joined, shape_defect

from fleet.coordinator.at_rest import job_key_id
from fleet.coordinator.work import Part
from fleet.domain.learning import JobKind
from fleet.domain.tags import new_id
from fleet.learning.errors import StateError
from fleet.learning.sealed_states import seal_state
from fleet.store.rows import LearningJobRow


def initial_state(tags: Sequence[str], shape: types.LoraShape, known: types.SharedLora | None) -> StateArrays:
    """Return the state from which a job starts: rows and branches that exist, zeros for new people.

    Without neurons there is no branch; with them there is one at least. Who has no row yet reads the first.
    """
    start = StateArrays.empty(tags, shape)
    lora = in_shape(known or types.SharedLora(), shape)
    rows = {row.subject_tag: row for row in lora.rows}
    for index, tag in enumerate(tags):
        if tag in rows:
            start.rows[index] = rows[tag].codes
    if not lora.branches:
        return start
    read = [list(branch.codes) for branch in lora.branches]
    return replace(
        start,
        branches=np.asarray(read, np.int16).reshape(len(read), shape.neurons, shape.rank),
        branch_weights=np.ones(len(read), np.uint8),
        row_branches=tuple(rows[tag].branch if tag in rows else 0 for tag in tags),
    )


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


def installable(state: StateArrays, shape: types.LoraShape) -> types.SharedLora:
    """Return the LoRA of a state: rows, by tag, and the branches that they read; `StateError` if it does not fit."""
    parts = zip(state.tags, state.rows.tolist(), state.row_branches, strict=True)
    lora = types.SharedLora(
        rows=[types.LoraRow(subject_tag=tag, codes=codes, branch=branch) for tag, codes, branch in parts],
        branches=[types.LoraBranch(codes=b.ravel().tolist()) for b in state.branches],
    )
    found = joined(shape, [lora])
    if defect := shape_defect(found):
        raise StateError(f"what was learned does not fit this fleet's LoRA: {defect}")
    return found
