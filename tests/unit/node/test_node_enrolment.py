"""Enrolment on a node, and what of it goes to the coordinator."""

from __future__ import annotations

import numpy as np
import pytest
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse

from edge_node.agent.node import Node
from edge_node.errors import AdapterError, NotAllowedError, SampleError, TombstonedTagError
from edge_node.testing import FakeCoordinator
from tests.unit.node.talk import Restart, Samples, grant, identity, only

# Enrolment


def test_enrolling_the_same_samples_again_counts_them_once(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    tag = new_tag()
    assert node.enroll(coordinator.consent(tag), samples(0, 3)).count == 3
    again = node.enroll(coordinator.consent(tag), samples(0, 3))
    assert (again.count, again.infer_cost.energy_j) == (3, 0.0)
    assert node.enroll(coordinator.consent(tag), samples(0, 5)).count == 5


def test_an_enrolment_survives_a_restart(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(2))
    node = restart()
    grant(node, coordinator)
    assert node.identify(samples(2, 1)).answers[0].best_tag == tag


def test_a_forgotten_tag_cannot_be_enrolled_again(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    tag = new_tag()
    coordinator.forget(tag)
    node.receive(coordinator.log_after(0))
    with pytest.raises(TombstonedTagError):
        restart().enroll(coordinator.consent(tag), samples(0))


def test_bad_input_is_refused_before_anything_changes(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    before = node.status()
    with pytest.raises(AdapterError):
        node.enroll(coordinator.consent("s04"), samples(0))
    with pytest.raises(NotAllowedError, match="is not the registry's"):
        node.enroll(FakeCoordinator().consent(new_tag()), samples(0))
    with pytest.raises(NotAllowedError, match="not for node-1"):
        node.enroll(coordinator.consent(new_tag(), "node-2"), samples(0))
    with pytest.raises(NotAllowedError, match="expired"):
        node.enroll(coordinator.consent(new_tag(), expires_at_unix_ms=1), samples(0))
    with pytest.raises(NotAllowedError):
        node.enroll(types.Envelope(), samples(0))
    with pytest.raises(SampleError):
        node.enroll(coordinator.consent(new_tag()), [])
    with pytest.raises(SampleError):
        node.enroll(coordinator.consent(new_tag()), [*samples(0), np.zeros((4, 3), np.float32)])
    with pytest.raises(SampleError):
        node.enroll(coordinator.consent(new_tag()), [np.full((4, 8), np.nan, np.float32)])
    assert node.status() == before


# Contributions


def test_a_contribution_goes_out_when_the_node_may_serve_and_until_it_is_acknowledged(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0, 3))
    assert not only(node.heartbeat(), "contribution")
    (envelope,) = only(grant(node, coordinator), "contribution")
    contribution = signing.open_envelope(envelope, node_pb2.Contribution, identity(node).receipt_public_key)
    purpose = sealing.contribution_purpose(coordinator.fleet_id, node.node_id, tag)
    opened = sealing.open_sealed(coordinator.sealing_key, purpose, contribution.adapter)
    sent = types.SubjectAdapter.FromString(opened)
    assert (sent.subject_tag, sent.count, sent.code_sum[0]) == (tag, 3, 3 * 4000 + 12)
    assert not only(node.heartbeat(), "contribution")
    # A new stream: the old one may have lost it.
    node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"c")))
    assert only(grant(node, coordinator), "contribution")
    ack = node_pb2.ContributionAck(subject_tag=tag, sequence=contribution.sequence)
    node.receive(ConnectResponse(contribution_ack=ack))
    node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"d")))
    assert not only(grant(node, coordinator), "contribution")
    node.enroll(coordinator.consent(tag), samples(0, 4))
    (further,) = only(node.heartbeat(), "contribution")
    assert node_pb2.Contribution.FromString(further.payload).sequence == contribution.sequence + 1


def test_nothing_of_a_forgotten_tag_is_contributed(node: Node, coordinator: FakeCoordinator, samples: Samples) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0))
    coordinator.forget(tag)
    node.receive(coordinator.log_after(0))
    assert not only(grant(node, coordinator), "contribution")


def refuse(node: Node, tag: str, sequence: int) -> None:
    ack = node_pb2.ContributionAck(subject_tag=tag, sequence=sequence, refusal="the enrolment ticket has expired")
    node.receive(ConnectResponse(contribution_ack=ack))


def test_who_was_refused_is_not_active_here_either(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    """The coordinator knows nobody of that tag: a receipt that named it would be taken for a false one."""
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(2))
    grant(node, coordinator)
    assert node.status().subject_tags == [tag]
    refuse(node, tag, 1)
    assert node.status().subject_tags == []
    assert restart().status().subject_tags == []


def test_who_was_refused_is_contributed_anew_with_a_new_ticket_and_the_same_samples(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(2))
    grant(node, coordinator)
    refuse(node, tag, 1)
    ticket = coordinator.consent(tag, expires_at_unix_ms=2**60)
    assert node.enroll(ticket, samples(2)).count == 3
    assert node.status().subject_tags == [tag]
    (sent,) = only(node.heartbeat(), "contribution")
    contribution = node_pb2.Contribution.FromString(sent.payload)
    assert (contribution.sequence, contribution.ticket) == (2, ticket)
    node.enroll(ticket, samples(2))
    assert not only(node.heartbeat(), "contribution")


def test_what_was_sent_while_the_node_was_held_goes_out_again_once_it_may_serve(
    node: Node, coordinator: FakeCoordinator, clock, samples: Samples
) -> None:
    """The coordinator puts contributions of a held node aside without an answer."""
    grant(node, coordinator)
    node.enroll(coordinator.consent(new_tag()), samples(0, 3))
    assert only(node.heartbeat(), "contribution")
    clock.advance(3600)
    assert not only(node.heartbeat(), "contribution")
    assert only(grant(node, coordinator), "contribution")
