"""Accepted receipts in figures: they are summed up without any of them being decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import func, select

from fleet.store import schema
from fleet.store.repository import Repository, equal
from fleet.store.rows import CostSumRow, NodeCostRow, ReceiptRow


class Receipts(Repository):
    """One row for each execution that is VERIFIED or NOT_AFFECTED: whoever moves it on to another state drops it."""

    def keep(self, receipt: ReceiptRow, costs: Iterable[NodeCostRow]) -> None:
        """Keep the figures of a receipt that was just accepted, and what it says that the forget cost."""
        self._insert(schema.receipt, **vars(receipt))
        rows = [{**vars(cost), "campaign_id": receipt.campaign_id} for cost in costs]
        self._insert_all(schema.receipt_cost, rows)

    def drop(self, campaign_id: str, node_id: str) -> None:
        """Drop the figures of a receipt that is none any more."""
        for table in (schema.receipt_cost, schema.receipt):
            self._delete(table, *equal(table, campaign_id=campaign_id, node_id=node_id))

    def costs(self, campaign_id: str) -> Sequence[CostSumRow]:
        """Return what a forget cost, in the order of `EnergyPhase`."""
        return self._cost_sums(schema.receipt_cost, schema.receipt_cost.c.campaign_id == campaign_id)

    def reram_writes(self, campaign_id: str) -> int:
        """Return how many cells a forget wrote."""
        table = schema.receipt.c
        return int(
            self._run(select(func.sum(table.reram_writes)).where(table.campaign_id == campaign_id)).scalar() or 0
        )

    def first(self, campaign_id: str) -> ReceiptRow | None:
        """Return the receipt of the first node, by id; None if there is none yet."""
        table = schema.receipt
        query = select(table).where(table.c.campaign_id == campaign_id).order_by(table.c.node_id).limit(1)
        return self._row(ReceiptRow, query)

    def any_erased(self, campaign_id: str, *, beyond: int) -> bool:
        """Whether some receipt tells of more than so many subject adapters, or of anything else, that was erased."""
        table = schema.receipt.c
        more = (table.subject_adapters_erased > beyond) | (table.lora_rows_erased > 0) | (table.code_samples_erased > 0)
        return bool(self._column(select(table.node_id).where(table.campaign_id == campaign_id, more).limit(1)))
