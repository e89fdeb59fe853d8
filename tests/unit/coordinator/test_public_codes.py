"""Public codes and statistics for the head: asked for, checked, and refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from reram_fleet.v1 import node_pb2 as wire

from fleet.coordinator.testing import FEATURES
from fleet.heads.packing import pack_statistics
from fleet.heads.statistics import HeadStatistics
from tests.unit.coordinator.head_fleet import PERSON, make_node, public_of, send_statistics
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, captured, kinds, newest


def test_public_codes_are_asked_for_once_there_is_somebody_to_solve_for(coordinator):
    node = make_node(coordinator, "node-1", {})
    coordinator.converse(node)
    assert "public_codes_request" not in kinds(coordinator.outbox("node-1"))
    node.capture(ANN, captured(1))
    coordinator.take("node-1", node.contribution())
    assert "public_codes_request" in kinds(coordinator.outbox("node-1"))
    assert "public_codes_request" not in kinds(coordinator.outbox("node-1"))


def test_eight_nodes_are_asked_in_order_of_their_ids_and_a_later_one_displaces_none(coordinator):
    nodes = [make_node(coordinator, f"node-{k}", {ANN: 1} if k == 9 else {}, public=k) for k in range(10, 0, -1)]
    coordinator.converse(*nodes)
    first = make_node(coordinator, "node-0", {}, public=0)
    coordinator.converse(first, *nodes)
    with coordinator.transaction() as unit:
        have_sent = [node_id for node_id, _ in unit.tx.heads.public_digests()]
    assert have_sent == sorted(f"node-{k}" for k in range(1, 11))[:8]


def test_node_that_is_asked_again_after_a_reconnect_changes_nothing(coordinator, pair, solved):
    (answer,) = pair[0].receive(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
    assert not coordinator.take("node-1", answer).changed
    coordinator.step()
    assert solved == []


def test_public_codes_that_nobody_asked_for_change_nothing(coordinator, pair, solved):
    """Else one node could have the head solved, and a revision built, again and again."""
    pair[0].show_public(public_of(7), PERSON)
    (answer,) = pair[0].receive(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
    assert not coordinator.take("node-1", answer).changed
    coordinator.step()
    assert solved == []


@pytest.mark.parametrize("how", ["off the diagonal", "nothing squared"])
def test_statistics_that_no_codes_have_do_not_cost_the_fleet_its_head(coordinator, pair, how):
    code_sum = captured(5).sum(axis=0, dtype=np.int64)
    gram = np.zeros((FEATURES, FEATURES), np.int64)
    if how == "off the diagonal":
        gram += 3 * 3000**2
    send_statistics(pair[0], pack_statistics(HeadStatistics(gram, code_sum, 3)))
    pair[0].capture(DEB, captured(5))
    coordinator.converse(*pair)
    with coordinator.transaction() as unit:
        assert "no sums of squares" in unit.tx.nodes.quarantined("node-1")[0].reason
    assert set(newest(coordinator).head.subject_tags) == {ANN, BOB, CEM}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: setattr(message, "node_id", "node-9"),
        lambda message: setattr(message, "bytes_per_code", 3),
        lambda message: setattr(message, "codes", message.codes[:-1]),
        lambda message: setattr(message, "features", 0),
        lambda message: message.person.append(1),
        lambda message: message.ClearField("person"),
    ],
)
def test_malformed_public_codes_change_nothing(coordinator, spoil: Callable[[wire.PublicCodes], None]):
    node = make_node(coordinator, "node-1", {ANN: 1})
    node.forge("public_codes", spoil)
    coordinator.converse(node)
    with coordinator.transaction() as unit:
        assert unit.tx.heads.public_digests() == []
    assert not newest(coordinator).HasField("head")


@pytest.mark.parametrize("odd", ["node-0", "node-3"])
def test_public_codes_of_other_samples_than_most_nodes_have_are_not_solved_with(coordinator, pair, odd):
    """Also when the odd one out comes first: no single node decides what the public samples are."""
    before = newest(coordinator).head
    third = make_node(coordinator, odd, {})
    third.show_public(public_of(3)[:9], PERSON[:9])
    coordinator.converse(*pair, third)
    assert newest(coordinator).head == before


def test_public_codes_of_a_held_node_are_not_solved_with(coordinator, pair):
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-2", "a false receipt")
        assert [node_id for node_id, _ in unit.tx.heads.public_digests()] == ["node-1"]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"RFH1" + bytes(100),
        pack_statistics(HeadStatistics.of(captured(7))),
        pack_statistics(HeadStatistics.of(captured(1, samples=2))),
        pack_statistics(HeadStatistics.of(captured(1)[:, :4])),
    ],
    ids=["empty", "no statistics", "somebody else's", "fewer samples", "fewer features"],
)
def test_statistics_that_are_not_of_the_adapters_samples_are_refused_with_it(coordinator, packed):
    node = make_node(coordinator, "node-1", {})
    coordinator.converse(node)
    send_statistics(node, packed)
    node.capture(ANN, captured(1))
    (reply,) = coordinator.take("node-1", node.contribution()).replies
    assert "statistics" in reply.contribution_ack.refusal
    with coordinator.transaction() as unit:
        assert not unit.tx.subjects.contributions()
        assert not unit.tx.heads.sources()
