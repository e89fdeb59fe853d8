"""Leases are granted without a transaction each, and still none is numbered twice or outlives what is noted."""

from __future__ import annotations

import pytest
from reram_fleet.v1.types_pb2 import Lease

from fleet.coordinator.nodes.heartbeats import HEARTBEATS_PER_S, interval_s
from fleet.coordinator.nodes.leases import BLOCK, LeaseBook, horizon_ms
from fleet.coordinator.testing import SteppedCoordinator


def leases(coordinator, node) -> list[Lease]:
    replies = [reply for message in node.heartbeat() for reply in coordinator.take(node.node_id, message).replies]
    return [Lease.FromString(reply.lease.payload) for reply in replies]


def test_numbers_rise_and_a_restart_goes_on_beyond_those_that_were_reserved(coordinator, nodes, tmp_path, clock):
    first, second = (leases(coordinator, nodes[0])[0] for _ in range(2))
    assert second.sequence == first.sequence + 1
    folder = coordinator.coordinator.env.settings.state
    coordinator.close()
    again = SteppedCoordinator(folder, now_ms=clock)
    again.connect(nodes[0])
    assert leases(again, nodes[0])[0].sequence > first.sequence // BLOCK * BLOCK + BLOCK
    again.close()


def test_after_a_crash_a_node_may_serve_until_no_lease_can_be_left(coordinator, nodes, clock):
    (lease,) = leases(coordinator, nodes[0])
    granted_until_ms = clock() + lease.max_age_ms
    folder = coordinator.coordinator.env.settings.state
    # What nodes said last was not written.
    coordinator.close()
    again = SteppedCoordinator(folder, now_ms=clock)
    with again.transaction() as unit:
        until_ms = unit.tx.nodes.get("node-1").lease_until_ms
    assert granted_until_ms <= until_ms <= granted_until_ms + horizon_ms(lease.max_age_ms)
    again.close()


def test_a_block_that_is_used_up_or_too_old_covers_no_lease():
    book = LeaseBook()
    assert not book.covers(0)
    book.reserved(2 * BLOCK, horizon_ms=100)
    assert book.covers(100)
    assert not book.covers(101)
    numbers = {book.take() for _ in range(BLOCK)}
    assert numbers == set(range(BLOCK + 1, 2 * BLOCK + 1))
    assert not book.covers(100)


@pytest.mark.parametrize("nodes", [1, 100, 1000, 10_000])
def test_a_fleet_of_any_size_sends_about_as_many_heartbeats_unless_leases_would_run_out(nodes):
    assert nodes / interval_s(nodes, lease_s=1e9) <= HEARTBEATS_PER_S
    assert interval_s(nodes, lease_s=30) <= 10


def test_what_is_reserved_for_long_leases_lasts_for_a_hundredth_of_them():
    assert horizon_ms(30_000) == 60_000
    assert horizon_ms(7 * 86_400_000) == 6_048_000
