"""Serving of adapters by a node: leases, and what withdraws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.errors import SampleError
from edge_node.testing import FakeClock, FakeCoordinator
from tests.unit.node.talk import Restart, Samples, grant, reason, serves


def test_node_without_a_lease_serves_backbone_only(node: Node, coordinator: FakeCoordinator, samples: Samples) -> None:
    node.enroll(coordinator.consent(new_tag()), samples(0))
    spent = list(node.status().costs)
    answer = node.identify(samples(0))
    assert answer.backbone_only
    # Nothing was computed that could not be told anyway.
    assert list(node.status().costs) == spent
    assert answer.quarantine_reason == types.QUARANTINE_REASON_NO_LEASE
    assert not answer.answers
    assert node.inference_counts() == (0, 3)


def test_node_with_a_lease_recognises_who_was_enrolled(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    tags = [new_tag(), new_tag()]
    for voice, tag in enumerate(tags):
        node.enroll(coordinator.consent(tag), samples(voice))
    grant(node, coordinator)
    answer = node.identify([*samples(0, 1), *samples(1, 1), *samples(5, 1)])
    assert not answer.backbone_only
    assert [(a.best_tag, a.accepted) for a in answer.answers[:2]] == [(tags[0], True), (tags[1], True)]
    assert not answer.answers[2].accepted


def claim(node: Node, tag: str, recordings: list[np.ndarray]) -> engine_pb2.AuthenticateResponse:
    return node.authenticate(engine_pb2.AuthenticateRequest(subject_tag=tag), recordings)


def test_claimed_identity_is_accepted_or_rejected(node: Node, coordinator: FakeCoordinator, samples: Samples) -> None:
    mine, theirs = new_tag(), new_tag()
    node.enroll(coordinator.consent(mine), samples(0))
    node.enroll(coordinator.consent(theirs), samples(1))
    grant(node, coordinator)

    owner, impostor = claim(node, mine, samples(0)), claim(node, mine, samples(1))

    assert (owner.accepted, len(owner.sample_scores), owner.threshold) == (True, 3, 0.9)
    # Whoever they are does not matter: they are not who they claim to be.
    assert not impostor.accepted
    assert impostor.score == pytest.approx(np.mean(impostor.sample_scores))
    assert node.inference_counts() == (6, 0)
    with pytest.raises(SampleError, match="no sample"):
        claim(node, mine, [])


def test_claim_is_not_compared_with_who_is_unknown_or_forgotten_or_withdrawn(
    node: Node, coordinator: FakeCoordinator, clock: FakeClock, samples: Samples
) -> None:
    kept, forgotten = new_tag(), new_tag()
    node.enroll(coordinator.consent(kept), samples(0))
    node.enroll(coordinator.consent(forgotten), samples(1))
    grant(node, coordinator, max_age_s=30)
    coordinator.forget(forgotten)
    node.receive(coordinator.log_after(0))
    grant(node, coordinator, max_age_s=30)

    assert claim(node, forgotten, samples(1)).refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_TAG
    assert claim(node, new_tag(), samples(1)).refusal == engine_pb2.TAG_REFUSAL_UNKNOWN_TAG
    clock.advance(31)
    withdrawn = claim(node, kept, samples(0))
    assert withdrawn.refusal == engine_pb2.TAG_REFUSAL_QUARANTINED
    assert withdrawn.quarantine_reason == types.QUARANTINE_REASON_LEASE_EXPIRED
    assert (withdrawn.accepted, withdrawn.score, list(withdrawn.sample_scores)) == (False, 0.0, [])
    assert node.inference_counts() == (0, 3)


def test_no_lease_survives_a_restart(node: Node, coordinator: FakeCoordinator, restart: Restart) -> None:
    grant(node, coordinator, max_age_s=86_400)
    assert serves(node)
    assert reason(restart()) == "NO_LEASE"


def test_an_expired_lease_quarantines_without_any_message(
    node: Node, coordinator: FakeCoordinator, clock: FakeClock
) -> None:
    grant(node, coordinator, max_age_s=30)
    clock.advance(30)
    assert (serves(node), reason(node)) == (False, "LEASE_EXPIRED")


def test_a_lease_that_runs_out_during_an_inference_keeps_its_answer_back(
    node: Node, coordinator: FakeCoordinator, clock: FakeClock, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0))
    grant(node, coordinator, max_age_s=30)
    capture = node.context.engine.capture

    def slow_capture(recordings: list[np.ndarray], **options: Any) -> object:
        clock.advance(31)
        return capture(recordings, **options)

    monkeypatch.setattr(node.context.engine, "capture", slow_capture)
    answer = node.identify(samples(0))
    assert (answer.backbone_only, list(answer.answers)) == (True, [])
    grant(node, coordinator, max_age_s=30)
    assert claim(node, tag, samples(0)).refusal == engine_pb2.TAG_REFUSAL_QUARANTINED


def test_node_behind_the_log_serves_backbone_only_until_it_has_caught_up(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    kept, forgotten = new_tag(), new_tag()
    node.enroll(coordinator.consent(kept), samples(0))
    node.enroll(coordinator.consent(forgotten), samples(1))
    coordinator.forget(forgotten)
    grant(node, coordinator)
    assert node.identify(samples(1)).quarantine_reason == types.QUARANTINE_REASON_BEHIND_GENERATION
    node.receive(coordinator.log_after(0))
    answer = node.identify(samples(1, 1)).answers[0]
    assert answer.best_tag != forgotten
    assert not answer.accepted


def test_transitions_are_recorded_in_order(node: Node, coordinator: FakeCoordinator, clock: FakeClock) -> None:
    grant(node, coordinator, max_age_s=1)
    clock.advance(2)
    node.serve_status()
    names = [
        types.QuarantineReason.Name(row.quarantine_reason).removeprefix("QUARANTINE_REASON_")
        for row in node.status().transitions
    ]
    assert names == ["STARTING", "NO_LEASE", "UNSPECIFIED", "LEASE_EXPIRED"]


def test_costs_and_counters_survive_a_restart_and_the_chip_is_programmed_once(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    node.enroll(coordinator.consent(new_tag()), samples(0))
    grant(node, coordinator)
    node.identify(samples(0))
    before = node.status().costs
    node = restart()
    assert list(node.status().costs) == list(before)
    assert node.inference_counts() == (3, 0)
