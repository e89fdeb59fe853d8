"""Progress of a node along the log, and nodes that were restored from a backup or had been lost."""

from __future__ import annotations

import logging

from reram_fleet.crypto.signing import key_id
from reram_fleet.v1 import node_pb2 as wire

from fleet.coordinator.nodes.report_checks import ReportError
from fleet.coordinator.nodes.sessions import MAX_WENT_BACK
from fleet.coordinator.work import Part
from fleet.domain.execution import ExecutionState
from fleet.domain.node import may_return
from fleet.store.rows import ExecutionRow, NodeRow
from fleet.trust.leaves import LeafKind, leaf_data_of
from fleet.trust.merkle import leaf_hash

logger = logging.getLogger(__name__)

#: Executions that a restored node leaves as they are.
_NOT_REOPENED = frozenset({ExecutionState.PENDING, ExecutionState.HELD, ExecutionState.RETIRED})


class Restored(Part):
    """Progress of nodes along the log, also of those that were restored or lost."""

    def check_rollback(self, node: NodeRow, hello: wire.Hello) -> None:
        """Start over with a node whose hello shows that it went back to a backup.

        Raises `ReportError` if it has done so too often within an hour: each time costs as much as all forgets
        together.
        """
        if hello.generation >= node.generation and self._continues(node, hello):
            if node.awaited_since_ms is not None and hello.receipt_counter != node.receipt_counter:
                # Who knows what its receipts of since said was lost with them.
                self.start_over(node, hello.receipt_counter, hello.last_receipt_hash, "the coordinator was restored")
            elif hello.revision < node.revision:
                # From before the last revision, and maybe from before people were enrolled: it holds less.
                logger.warning("node %s went back to revision %d", node.node_id, hello.revision)
                self._tx.forgets.forget_holdings(node.node_id)
            return
        if not self._env.sessions.of(node.node_id).may_go_back(self._tx.now_ms):
            raise ReportError(
                f"node {node.node_id} went back to a backup {MAX_WENT_BACK} times within the last hour",
                hint=f"fleet node retire {node.node_id} --reason ... goes on without it",
            )
        logger.warning(
            "node %s went back from generation %d (receipt %d) to %d (%d): restored from a backup",
            *(node.node_id, node.generation, node.receipt_counter, hello.generation, hello.receipt_counter),
        )
        self.start_over(node, hello.receipt_counter, hello.last_receipt_hash)

    def start_over(self, node: NodeRow, counter: int, receipt_hash: bytes, why: str = "restored from a backup") -> None:
        """Ask a node that was restored from a backup for everything again: what it had erased may be back.

        Which receipts the backup remembers cannot be told from their number, once a node has gone back twice. So
        every forget gets a new challenge; what is erased already stays so.
        """
        self._tx.nodes.rewind_receipts(node.node_id, counter, receipt_hash)
        self._tx.forgets.forget_holdings(node.node_id)
        for execution in self._tx.forgets.executions_of(node.node_id):
            # Out of HELD only by an operator, and out of LOST not for ever.
            if execution.state in _NOT_REOPENED or self._stays_lost(execution):
                continue
            self._tx.forgets.set_execution(execution.campaign_id, node.node_id, ExecutionState.PENDING, why)
            self._tx.forgets.reopen(execution.campaign_id)

    def _continues(self, node: NodeRow, hello: wire.Hello) -> bool:
        """Whether the node's receipts go on from the last one that came: none or only new ones follow it."""
        last = (hello.receipt_counter, hello.last_receipt_hash)
        if last == (node.receipt_counter, node.last_receipt_hash):
            return True
        leaf = leaf_data_of(LeafKind.RECEIPT, hello.last_receipt_hash, key_id(node.receipt_public_key))
        return hello.receipt_counter > node.receipt_counter and self._tx.tree.find(leaf_hash(leaf)) is None

    def _stays_lost(self, execution: ExecutionRow) -> bool:
        return execution.state is ExecutionState.LOST and not may_return(execution.returns)

    def note_suppressed(self, node_id: str, generation: int) -> None:
        """Move on what waited for the node to have the log up to this generation; re-open what went on without.

        A node that had been lost takes the log like any other before it serves, also when it stays given up.
        """
        for execution in self._tx.forgets.executions_of(node_id, states={ExecutionState.LOST}):
            if not self._stays_lost(execution):
                self._tx.forgets.set_execution(execution.campaign_id, node_id, ExecutionState.PENDING, "it came back")
                self._tx.forgets.reopen(execution.campaign_id)
        self._tx.forgets.suppress(node_id, generation)
