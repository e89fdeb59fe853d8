"""Rounds of learning on a node: whose tickets it takes, and what it learns from."""

from __future__ import annotations

import pytest
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse

from edge_node.agent.node import Node
from edge_node.errors import ProtocolError, TicketRefusedError
from edge_node.testing import FakeCoordinator
from tests.unit.node.talk import Samples, forgotten_everywhere, identity


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"generation": 9}, "generation 9"),
        ({"expires_at_unix_ms": 1}, "expired"),
        ({"node_id": "node-2"}, "node-2"),
        ({"fleet_id": "other"}, "other"),
        ({"job_id": "job-2"}, "does not open"),
        ({"forget_tags": ["0" * 32], "kind": types.LEARNING_KIND_UNLEARN_LORA}, "not forgotten"),
    ],
)
def test_the_engine_takes_no_ticket_that_is_not_for_it_now(
    node: Node, coordinator: FakeCoordinator, changes: dict[str, object], why: str
) -> None:
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())
    good = coordinator.ticket(identity(node), node.session_public_key, key)
    assert node.run_round(good, state).node_id == node.node_id
    with pytest.raises((TicketRefusedError, ProtocolError), match=why):
        node.run_round(coordinator.ticket(identity(node), node.session_public_key, key, **changes), state)


def test_a_round_learns_from_the_nodes_own_samples_of_the_named_tags_only(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    named, other = new_tag(), new_tag()
    node.enroll(coordinator.consent(named), samples(0, 4))
    node.enroll(coordinator.consent(other), samples(1, 2))
    key = sealing.new_key()
    state = types.LoraState(subject_tags=[named], rank=1, rows=b"12", row_weights=b"\1")
    sealed = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), state.SerializeToString())
    ticket = coordinator.ticket(identity(node), node.session_public_key, key, subject_tags=[named])
    response = node.run_round(ticket, sealed)
    assert response.num_examples == 4
    opened = sealing.open_symmetric(key, sealing.state_purpose("job-1"), response.sealed_state)
    assert types.LoraState.FromString(opened) == state


@pytest.mark.parametrize("moment", ["a reconnect", "a forget"])
def test_a_ticket_from_before_is_opened_by_no_key_that_is_left(
    node: Node, coordinator: FakeCoordinator, samples: Samples, moment: str
) -> None:
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())
    before = node.session_public_key
    assert node.run_round(coordinator.ticket(identity(node), before, key), state).node_id == node.node_id
    if moment == "a reconnect":
        node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"n")))
    else:
        forgotten_everywhere(node, coordinator, samples)
    assert node.session_public_key != before
    with pytest.raises(TicketRefusedError, match="does not open"):
        node.run_round(coordinator.ticket(identity(node), before, key), state)
    assert node.run_round(coordinator.ticket(identity(node), node.session_public_key, key), state).node_id


def test_the_new_session_key_travels_signed(node: Node, coordinator: FakeCoordinator, samples: Samples) -> None:
    coordinator.forget(new_tag())
    answers = node.receive(coordinator.log_after(0))
    suppressed = next(a.suppressed for a in answers if a.WhichOneof("message") == "suppressed")
    public_key = identity(node).receipt_public_key
    session = signing.open_envelope(suppressed.session_key, node_pb2.SessionKey, public_key)
    assert (session.node_id, session.generation) == (node.node_id, 1)
    assert session.public_key == node.session_public_key
