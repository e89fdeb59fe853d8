"""The forget log: dense generations, signed, chained by hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.crypto.signing import payload_hash
from reram_fleet.v1.types_pb2 import Envelope, ForgetCommand
from sqlalchemy import bindparam, select

from fleet.domain.tags import validate_id, validate_tags
from fleet.errors import NotFoundError
from fleet.store import schema
from fleet.store.fleet import Fleet
from fleet.store.repository import Repository
from fleet.store.rows import LogRow
from fleet.trust.leaves import nodes_root

_ENTRY = schema.log_entry
_BEHIND = select(_ENTRY).where(_ENTRY.c.generation > bindparam("after")).order_by(_ENTRY.c.generation)
_RANGE = _BEHIND.where(_ENTRY.c.generation <= bindparam("through"))


class ForgetLog(Repository):
    """Append-only; the fleet's generation is its length."""

    def append(
        self,
        campaign_id: str,
        tags: Iterable[str],
        sign: Callable[[ForgetCommand], Envelope],
        node_ids: Sequence[str] = (),
        concepts: Sequence[str] = (),
    ) -> LogRow:
        """Append the next generation and move the fleet's head to it.

        The campaign that it commits is made in the same transaction, after this. Tags, the canary's among them, are
        sorted, so that its place tells nothing; `concepts` are the names of those that are made of one. `sign` signs
        the finished command with the coordinator's key.
        """
        fleet = Fleet(self._scope).get()
        command = ForgetCommand(
            fleet_id=fleet.fleet_id,
            generation=fleet.generation + 1,
            previous_hash=fleet.log_head,
            campaign_id=validate_id(campaign_id),
            subject_tags=validate_tags(tags),
            issued_at_unix_ms=self._now_ms,
            nodes_root=nodes_root(node_ids),
            nodes=len(node_ids),
            concepts=concepts,
        )
        return self.append_signed(command, sign(command))

    def append_signed(self, command: ForgetCommand, envelope: Envelope) -> LogRow:
        """Append an entry as it was signed: the next generation, perhaps once more after it was lost."""
        row = LogRow(command.generation, command.campaign_id, envelope.SerializeToString(deterministic=True))
        self._insert(schema.log_entry, **vars(row))
        Fleet(self._scope).set_log_head(row.generation, payload_hash(envelope))
        return row

    def get(self, generation: int) -> LogRow:
        """Return one entry."""
        rows = self._once(schema.log_entry, generation, lambda: self.range(generation - 1, generation))
        if not rows:
            raise NotFoundError(f"the forget log has no generation {generation}")
        return rows[0]

    def head_of(self, generation: int) -> bytes:
        """Return the SHA-256 of the payload of an entry; of zeros before the first."""
        return payload_hash(Envelope.FromString(self.get(generation).envelope)) if generation else ZERO_HASH

    def range(self, after: int, through: int | None = None) -> Sequence[LogRow]:
        """Return the entries of (after, through], in order; to the end of the log without `through`."""
        if through is None:
            return self._rows(LogRow, _BEHIND, after=after)
        return self._rows(LogRow, _RANGE, after=after, through=through)
