"""Receipts that do not hold, or are larger than any: the node is held, or its stream closed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import digests, signing
from reram_fleet.crypto.digests import STATEMENT
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.nodes.report_checks import ReportError
from tests.unit.coordinator.orders import order, receipt_of
from tests.unit.coordinator.small_fleet import (
    ANN,
    campaign_state,
    execution,
    row_of,
    states,
)


def lie(receipt, how):
    first = receipt.active_adapters[0]
    if how == "still active":
        receipt.active_adapters.add(subject_tag=ANN, digest=first.digest)
    elif how == "one too few":
        del receipt.active_adapters[0]
    elif how == "another adapter":
        first.digest = bytes(32)
    elif how == "another revision":
        receipt.lora_digest = bytes(32)
    elif how == "probes":
        receipt.probe_results[0].subject_tag, receipt.probe_results[1].subject_tag = (
            receipt.probe_results[1].subject_tag,
            receipt.probe_results[0].subject_tag,
        )
    elif how == "no probes":
        del receipt.probe_results[:]
    elif how == "cells":
        receipt.reram_writes = 1
    elif how == "statement":
        receipt.statement = "trust me"
    elif how == "counter":
        receipt.counter += 1
    elif how == "joules":
        receipt.costs.add(phase=types.ENERGY_PHASE_ERASE, energy_j=1e300)
    elif how == "seconds":
        receipt.erase_seconds = float("nan")
    elif how == "chain":
        receipt.previous_receipt_hash = bytes([1]) * 32
    receipt.adapters_digest_after = digests.adapters_digest(receipt.active_adapters, receipt.lora_digest)


@pytest.mark.parametrize(
    "how",
    [
        "still active",
        "one too few",
        "another adapter",
        "another revision",
        "probes",
        "no probes",
        "cells",
        "statement",
        "counter",
        "joules",
        "seconds",
        "chain",
    ],
)
def test_node_whose_receipt_does_not_hold_is_held_and_the_others_go_on(coordinator, nodes, how):
    campaign, _ = coordinator.forget("r1", ANN)
    nodes[0].amend = lambda receipt: lie(receipt, how)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "held", "node-2": "verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    reason = execution(coordinator, campaign.campaign_id, nodes[0]).detail
    assert "expected" in reason
    assert reason in row_of(coordinator, nodes[0]).held_reason
    (heartbeat, *_) = nodes[0].heartbeat()
    assert coordinator.take("node-1", heartbeat).replies == ()


def test_receipt_signed_with_another_key_closes_the_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    genuine = receipt_of(coordinator, nodes[0]).receipt
    receipt = types.Receipt.FromString(genuine.payload)
    forged = signing.sign(Ed25519PrivateKey.generate(), receipt)
    with pytest.raises(SignatureError):
        coordinator.take("node-1", ConnectRequest(receipt=forged))
    as_somebody_else = ConnectRequest(receipt=genuine)
    with pytest.raises(SignatureError):
        coordinator.take("node-2", as_somebody_else)


def test_receipt_of_a_campaign_that_never_was_closes_the_stream(coordinator, nodes):
    receipt = types.Receipt(campaign_id="0" * 26, generation=1, counter=1, statement=STATEMENT)
    envelope = signing.sign(nodes[0].signing_key, receipt)
    with pytest.raises(ReportError, match="no order of ours"):
        coordinator.take("node-1", ConnectRequest(receipt=envelope))


def test_reason_why_a_node_is_held_is_short_whatever_its_receipt_says(coordinator, nodes):
    def flood(receipt):
        receipt.statement = "x" * 10_000
        for number in range(300):
            receipt.active_adapters.add(subject_tag=f"{number:032x}", digest=bytes(32))
            receipt.probe_results.add(subject_tag="y" * 50)

    nodes[0].amend = flood
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert row.state == "held"
    assert "and 292 more" in row.detail
    assert len(row.detail) < 3_000


def test_receipt_of_megabytes_is_put_aside(coordinator, nodes):
    nodes[0].amend = lambda receipt: setattr(receipt, "statement", "x" * 2**20)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert (row.state, row.receipt) == ("applying", None)
    with coordinator.transaction() as unit:
        assert "a receipt of 1049" in unit.tx.nodes.quarantined("node-1")[0].reason
