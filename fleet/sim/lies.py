"""Lies of a node: receipts that do not say what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.testing import MemoryNode

#: Changes of a receipt before the node signs it, by what it claims.
LIES: dict[str, Callable[[types.Receipt], None]] = {
    "other adapters are active": lambda receipt: setattr(receipt, "adapters_digest_after", bytes(32)),
    "nothing was held": lambda receipt: setattr(receipt, "outcome", types.RECEIPT_OUTCOME_NOT_AFFECTED),
    "another command was carried out": lambda receipt: setattr(receipt, "command_hash", bytes(32)),
}


class LyingNode(MemoryNode):
    """A real node whose receipts are changed before it signs them, from when it is told to lie."""

    lie = ""

    def _start(self, journal: bytes) -> None:
        super()._start(journal)
        amend_receipts(self.node, lambda receipt: LIES[self.lie](receipt) if self.lie else None)


def amend_receipts(node: Node, change: Callable[[types.Receipt], None]) -> None:
    """Have a node change its receipts before it signs them."""
    forgetting = node._forgetting
    honest = forgetting._receipt

    def receipt(*arguments: Any) -> types.Receipt:
        made = honest(*arguments)
        change(made)
        return made

    forgetting._receipt = receipt  # type: ignore[method-assign, assignment]
