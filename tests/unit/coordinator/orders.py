"""Erase orders and receipts, as tests look at them."""

from __future__ import annotations

from reram_fleet.crypto import signing
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from tests.unit.coordinator.small_fleet import (
    serve,
)

EVE = "e" * 32


def order(coordinator, *nodes):
    """Bring connected nodes to where node-1's erase order is due, without sending it."""
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()


def receipt_of(coordinator, node):
    """Send a node its erase order and return its receipt, which nobody else has seen yet."""
    answers = [answer for message in coordinator.outbox(node.node_id) for answer in node.receive(message)]
    (receipt,) = [answer for answer in answers if answer.WhichOneof("message") == "receipt"]
    return receipt


def ack_of(effect):
    (reply,) = effect.replies
    return reply.receipt_ack


def tree_size(coordinator):
    with coordinator.transaction() as unit:
        return unit.tx.tree.size()


def changed(node, envelope, **changes):
    """Sign a receipt anew, with changes."""
    receipt = types.Receipt.FromString(envelope.payload)
    for name, value in changes.items():
        setattr(receipt, name, value)
    return ConnectRequest(receipt=signing.sign(node.signing_key, receipt))


def verdicts(coordinator, campaign_id):
    with coordinator.transaction() as unit:
        return {v.adapter_kind: v.verdict for v in unit.views.verdicts_of(unit.tx.forgets.get(campaign_id))}
