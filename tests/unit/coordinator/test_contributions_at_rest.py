"""Ciphertext of a person in the store: it opens in its own row, and nowhere else."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric

from fleet.coordinator.at_rest import contribution_at_rest, statistics_at_rest, subject_key_id
from fleet.heads.packing import open_packed, sum_packed
from fleet.heads.statistics import HeadStatistics
from tests.unit.coordinator.small_fleet import ANN, BOB, captured, code_sum, newest

#: Of Ann, on node-2.
CODES = captured(9, samples=4)


@pytest.fixture
def shared(coordinator, nodes):
    """Return the coordinator once node-2 has contributed about node-1's Ann as well, with statistics."""
    nodes[1].capture(ANN, CODES)
    coordinator.converse(*nodes)
    return coordinator


def key_of(coordinator, tag):
    return coordinator.coordinator.env.secrets.get(subject_key_id(tag))


def rows_of(unit, tag):
    return {row.node_id: row for row in unit.tx.subjects.contributions(tag)}


def test_sum_that_was_moved_to_another_nodes_row_is_put_aside(shared):
    with shared.transaction() as unit:
        rows = rows_of(unit, ANN)
        assert set(rows) == {"node-1", "node-2"}
        unit.tx.subjects.reseal(ANN, "node-1", rows["node-2"].ciphertext)
    with shared.transaction() as unit:
        found = [row.node_id for row, _ in unit.contributions.opened(unit.tx.subjects.contributions(ANN))]
        assert found == ["node-2"]
        assert "cannot be used" in unit.tx.nodes.quarantined("node-1")[0].reason


def test_sum_of_before_does_not_open_as_the_present_one(shared):
    with shared.transaction() as unit:
        row = rows_of(unit, ANN)["node-1"]
        ciphertext = seal_symmetric(
            key_of(shared, ANN), contribution_at_rest(ANN, "node-1", row.sequence + 1), b"of another sequence"
        )
        unit.tx.subjects.reseal(ANN, "node-1", ciphertext)
        assert [r.node_id for r, _ in unit.contributions.opened(unit.tx.subjects.contributions(ANN))] == ["node-2"]


def test_rows_of_an_earlier_version_are_sealed_anew_at_the_start_and_nothing_is_lost(shared, open_coordinator):
    before = newest(shared)
    with shared.transaction() as unit:
        for row in unit.tx.subjects.contributions():
            key, old = key_of(shared, row.tag), subject_key_id(row.tag)
            plaintext = open_symmetric(key, contribution_at_rest(row.tag, row.node_id, row.sequence), row.ciphertext)
            unit.tx.subjects.reseal(row.tag, row.node_id, seal_symmetric(key, old, plaintext))
        for row in unit.tx.heads.statistics():
            key, old = key_of(shared, row.tag), f"{subject_key_id(row.tag)}/statistics"
            packed = open_symmetric(key, statistics_at_rest(row.tag, row.node_id, row.sequence), row.ciphertext)
            unit.tx.heads.reseal(row.tag, row.node_id, seal_symmetric(key, old, packed))
    coordinator = open_coordinator()
    with coordinator.transaction() as unit:
        rows = unit.tx.subjects.contributions()
        found = list(unit.contributions.opened(rows))
        assert len(found) == len(rows) == 5
        packed = {
            (row.tag, row.node_id): open_symmetric(
                key_of(coordinator, row.tag), statistics_at_rest(row.tag, row.node_id, row.sequence), row.ciphertext
            )
            for row in unit.tx.heads.statistics()
        }
        assert packed.keys() == {(row.tag, row.node_id) for row in rows}
        assert sum_packed([open_packed(packed[ANN, "node-2"])]).equals(HeadStatistics.of(CODES))
        assert unit.tx.nodes.quarantined("node-1") == []
        ((_, bob),) = [pair for pair in found if pair[0].tag == BOB]
    assert list(bob.code_sum) == code_sum(1)
    assert newest(coordinator) == before
    with coordinator.transaction() as unit:
        for row in unit.tx.subjects.contributions():
            purpose = contribution_at_rest(row.tag, row.node_id, row.sequence)
            open_symmetric(key_of(coordinator, row.tag), purpose, row.ciphertext)
