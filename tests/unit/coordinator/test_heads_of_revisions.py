"""Closed-form head of revisions: a function of who is enrolled now, solved once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.core import Coordinator
from fleet.coordinator.revisions.heads import Heads
from tests.unit.coordinator.head_fleet import PERSON, expected_head, make_node, metric, public_of, send_statistics
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, captured, newest, serve


def test_head_is_solved_over_all_people_and_all_nodes(coordinator, pair):
    head = newest(coordinator).head
    assert head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4]}, [1, 2])
    assert metric(coordinator, "fleet_head_people") == 3
    assert metric(coordinator, "fleet_head_unsolved") == 0


def test_manifest_says_whether_there_is_a_head(coordinator, pair):
    with coordinator.transaction() as unit:
        row = unit.tx.revisions.latest()
    manifest = types.RevisionManifest.FromString(types.Envelope.FromString(row.manifest).payload)
    assert manifest.has_head


def test_there_is_no_head_before_some_node_has_sent_public_codes(coordinator):
    silent = make_node(coordinator, "node-1", {ANN: 1, BOB: 2}, public=None)
    coordinator.converse(silent)
    assert {ANN, BOB} <= {s.subject_tag for s in newest(coordinator).subjects}
    assert not newest(coordinator).HasField("head")
    other = make_node(coordinator, "node-2", {}, public=2)
    coordinator.converse(silent, other)
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2]}, [2])


def test_person_without_statistics_is_not_in_the_head_but_is_in_the_revision(coordinator, pair):
    send_statistics(pair[0], None)
    pair[0].capture(DEB, captured(5))
    coordinator.converse(*pair)
    content = newest(coordinator)
    assert DEB in {subject.subject_tag for subject in content.subjects}
    assert list(content.head.subject_tags) == [ANN, BOB, CEM]


def test_canaries_are_not_in_the_head(coordinator, pair):
    content = newest(coordinator)
    assert set(content.head.subject_tags) < {subject.subject_tag for subject in content.subjects}


def test_unchanged_statistics_are_not_solved_again_not_even_after_a_restart(
    open_coordinator, coordinator, pair, solved
):
    for _ in range(3):
        coordinator.step()
    again = open_coordinator()
    again.step()
    assert solved == []
    assert newest(again).head.subject_tags


def test_newcomer_is_solved_for_once(coordinator, pair, solved):
    pair[1].capture(DEB, captured(5))
    coordinator.converse(*pair)
    assert len(solved) == 1
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4], DEB: [5]}, [1, 2])


def test_head_that_cannot_be_solved_is_left_out_said_and_not_tried_again(coordinator, solved):
    # Codes of one: weights so large that they do not fit into int32.
    node = make_node(coordinator, "node-1", {}, public=1)
    node.show_public(np.sign(public_of(1)).astype(np.int16), PERSON)
    node.capture(ANN, np.sign(captured(1)))
    coordinator.converse(node)
    assert not newest(coordinator).HasField("head")
    assert {subject.subject_tag for subject in newest(coordinator).subjects} > {ANN}
    assert metric(coordinator, "fleet_head_unsolved") == 1
    with coordinator.transaction() as unit:
        noted = unit.tx.heads.note_of(unit.tx.revisions.latest().revision)
    assert "int32" in noted.error
    tries = len(solved)
    coordinator.step()
    assert len(solved) == tries


@pytest.fixture
def ahead(coordinator, pair) -> Coordinator:
    """Solve ahead from now on, as the reconcile loop does."""
    coordinator.coordinator.env.solves_ahead = True
    return coordinator.coordinator


def test_head_solved_ahead_is_taken_and_not_solved_again(coordinator, pair, ahead, solved):
    pair[1].capture(DEB, captured(5))
    coordinator.take("node-2", pair[1].contribution())
    asyncio.run(ahead.solve_head_ahead())
    coordinator.step()
    assert len(solved) == 1
    assert newest(coordinator).head == expected_head({ANN: [1], BOB: [2, 3], CEM: [4], DEB: [5]}, [1, 2])
    asyncio.run(ahead.solve_head_ahead())
    assert ahead.env.head_ahead is None


def test_newcomer_during_a_solve_is_in_the_revision_at_once_and_in_the_head_with_the_next(
    coordinator, pair, ahead, solved
):
    before = newest(coordinator).head
    pair[1].capture(DEB, captured(5))
    asyncio.run(ahead.solve_head_ahead())
    coordinator.take("node-2", pair[1].contribution())
    coordinator.step()
    assert solved == []
    assert DEB in {subject.subject_tag for subject in newest(coordinator).subjects}
    assert newest(coordinator).head == before
    asyncio.run(ahead.solve_head_ahead())
    coordinator.step()
    assert DEB in newest(coordinator).head.subject_tags


def test_head_that_knows_a_forgotten_person_is_never_kept_nor_one_that_was_solved_ahead(coordinator, pair, ahead):
    pair[1].capture(DEB, captured(5))
    coordinator.take("node-2", pair[1].contribution())
    asyncio.run(ahead.solve_head_ahead())
    assert BOB in ahead.env.head_ahead.head.subject_tags
    coordinator.forget("r1", BOB)
    serve(coordinator, *pair)
    coordinator.step()
    assert newest(coordinator).head == expected_head({ANN: [1], CEM: [4], DEB: [5]}, [1, 2])


def test_person_forgotten_during_a_solve_ends_it_without_an_error(coordinator, pair, ahead, monkeypatch):
    pair[1].capture(DEB, captured(5))
    coordinator.take("node-2", pair[1].contribution())
    real = Heads._basis

    def forgotten_meanwhile(heads):
        monkeypatch.setattr(Heads, "_basis", real)
        basis = real(heads)
        coordinator.forget("r1", BOB)
        return basis

    monkeypatch.setattr(Heads, "_basis", forgotten_meanwhile)
    asyncio.run(ahead.solve_head_ahead())
    assert ahead.env.head_ahead is None
