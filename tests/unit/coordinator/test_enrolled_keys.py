"""Keys that may be enrolled as a node."""

from __future__ import annotations

import pytest

from fleet.errors import InvalidInputError
from tests.device import Device
from tests.unit.coordinator.small_fleet import row_of


def changed(node, **fields):
    identity = node.identity
    for name, value in fields.items():
        setattr(identity, name, value)
    return identity


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"possession": b""}, "does not prove that it has its keys", id="no proof"),
        pytest.param({"possession": bytes(64)}, "is not of these keys", id="no signature"),
        pytest.param({"node_id": "node-8"}, "is not of these keys and this name", id="another name"),
        pytest.param({"receipt_public_key": b"\1" + bytes(31)}, "small order", id="small order"),
        pytest.param({"sealing_public_key": bytes(32)}, "low order", id="low order"),
    ],
)
def test_identity_that_proves_nothing_is_refused_and_says_how_to_print_it_anew(coordinator, fields, error):
    identity = changed(Device("node-9"), **fields)
    with coordinator.transaction() as unit, pytest.raises(InvalidInputError, match=error) as refused:
        unit.decisions.enroll(identity)
    assert "edge-node init" in refused.value.hint
    with coordinator.transaction() as unit:
        assert unit.tx.nodes.list() == []


def test_node_that_was_enrolled_before_proofs_stays_enrolled(coordinator, nodes):
    """Only enrolling asks for one: its streams go on, and its new identity is the same node."""
    before = row_of(coordinator, nodes[0])
    with coordinator.transaction() as unit:
        with pytest.raises(InvalidInputError, match="does not prove"):
            unit.decisions.enroll(changed(nodes[0], possession=b""))
        assert unit.decisions.enroll(nodes[0].identity) == (unit.tx.nodes.get("node-1"), False)
    assert row_of(coordinator, nodes[0]) == before
    coordinator.connect(nodes[0])
