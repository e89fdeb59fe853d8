from __future__ import annotations

import pytest
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.lease import MAX_OUTSTANDING, LeaseKeeper

SERVING = (types.SERVE_STATE_SERVING, types.QUARANTINE_REASON_UNSPECIFIED)


def quarantined(reason: str) -> tuple[int, int]:
    return types.SERVE_STATE_QUARANTINED, types.QuarantineReason.Value(f"QUARANTINE_REASON_{reason}")


def lease(nonce: bytes, *, generation: int = 0, max_age_ms: int = 30_000) -> types.Lease:
    return types.Lease(request_nonce=nonce, generation=generation, max_age_ms=max_age_ms)


@pytest.fixture
def keeper() -> LeaseKeeper:
    return LeaseKeeper()


def test_a_node_starts_quarantined(keeper: LeaseKeeper) -> None:
    assert keeper.status(0.0, 0) == quarantined("STARTING")


def test_the_lease_ages_from_when_its_request_was_sent_not_from_when_it_came(keeper: LeaseKeeper) -> None:
    keeper.requested(b"n", 100.0)
    assert keeper.granted(lease(b"n"))
    assert keeper.status(129.999, 0) == SERVING
    assert keeper.status(130.0, 0) == quarantined("LEASE_EXPIRED")


def test_a_lease_for_a_later_generation_does_not_let_a_node_behind_serve(keeper: LeaseKeeper) -> None:
    keeper.requested(b"n", 0.0)
    assert keeper.granted(lease(b"n", generation=5))
    assert keeper.status(1.0, 4) == quarantined("BEHIND_GENERATION")
    assert keeper.status(1.0, 5) == SERVING


def test_a_lease_nobody_asked_for_is_worth_nothing(keeper: LeaseKeeper) -> None:
    assert not keeper.granted(lease(b"forged"))
    assert keeper.status(0.0, 0) == quarantined("STARTING")


def test_the_same_lease_again_does_not_live_longer(keeper: LeaseKeeper) -> None:
    keeper.requested(b"n", 0.0)
    assert keeper.granted(lease(b"n"))
    assert not keeper.granted(lease(b"n"))
    assert keeper.status(30.0, 0) == quarantined("LEASE_EXPIRED")


def test_a_late_answer_to_an_older_request_does_not_replace_a_newer_lease(keeper: LeaseKeeper) -> None:
    keeper.requested(b"old", 0.0)
    keeper.requested(b"new", 10.0)
    assert keeper.granted(lease(b"new", generation=3))
    assert not keeper.granted(lease(b"old", generation=2))
    assert keeper.status(11.0, 2) == quarantined("BEHIND_GENERATION")


def test_after_a_withdrawal_answers_to_earlier_requests_come_too_late(keeper: LeaseKeeper) -> None:
    keeper.requested(b"before", 0.0)
    keeper.withdraw(types.QUARANTINE_REASON_GAP)
    assert not keeper.granted(lease(b"before"))
    assert keeper.status(1.0, 0) == quarantined("GAP")
    keeper.requested(b"after", 2.0)
    assert keeper.granted(lease(b"after"))
    assert keeper.status(3.0, 0) == SERVING


def test_open_requests_are_bounded(keeper: LeaseKeeper) -> None:
    for number in range(MAX_OUTSTANDING + 1):
        keeper.requested(bytes([number]), float(number))
    assert not keeper.granted(lease(bytes([0])))
    assert keeper.granted(lease(bytes([1])))
