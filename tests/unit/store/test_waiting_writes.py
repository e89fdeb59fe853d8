"""Writes that wait for the next statement: in order, once, and refused if a row is not as it was read."""

import pytest

from fleet.errors import ConflictError, VersionConflictError
from fleet.store import schema

KEYS = {"receipt_public_key": b"r" * 32, "sealing_public_key": b"s" * 32}


@pytest.fixture
def nodes(store, identity):
    with store.transaction() as tx:
        for node_id in ("n1", "n2"):
            tx.nodes.enroll(identity(node_id))
    return store


def test_changes_of_one_row_are_one_and_the_last_counts(nodes):
    with nodes.transaction() as tx:
        tx.nodes.touch("n1", generation=1)
        tx.nodes.touch("n1", generation=2, revision=7)
        tx.nodes.touch("n2", generation=3)
        assert [(node.generation, node.revision) for node in tx.nodes.list()] == [(2, 7), (3, 0)]
    with nodes.snapshot() as tx:
        assert [(node.generation, node.revision) for node in tx.nodes.list()] == [(2, 7), (3, 0)]


@pytest.mark.parametrize(("key", "expected"), [("n1", {"generation": 5}), ("n9", {})], ids=["changed", "absent"])
def test_a_row_that_is_not_as_it_was_read_undoes_the_whole_transaction(nodes, key, expected):
    def change():
        with nodes.transaction() as tx:
            tx.nodes.touch("n2", generation=3)
            tx.nodes._change(schema.node, {"node_id": key}, {"generation": 6}, expected)

    with pytest.raises(VersionConflictError, match="table node"):
        change()
    with nodes.snapshot() as tx:
        assert [node.generation for node in tx.nodes.list()] == [0, 0]


def test_rows_are_inserted_after_those_that_they_refer_to(nodes):
    with nodes.transaction() as tx:
        campaign = {"campaign_id": "c" * 26, "request_id": "r", "request_digest": b"d", "generation": 1}
        event = {"campaign_id": "c" * 26, "node_id": "n1", "to_state": "pending", "detail": "", "at_ms": 1}
        execution = {"campaign_id": "c" * 26, "node_id": "n1", "state": "pending", "detail": "", "updated_at_ms": 1}
        entry = {"generation": 1, "campaign_id": "c" * 26, "envelope": b"e"}
        others = {"state": "committed", "created_at_ms": 1, "lora_affected": False, "version": 1}
        tx.nodes._insert(schema.execution_event, **event)
        tx.nodes._insert(schema.execution, **execution, version=1)
        tx.nodes._insert(schema.campaign, **campaign, **others)
        tx.nodes._insert(schema.log_entry, **entry)
    with nodes.snapshot() as tx:
        assert [each.node_id for each in tx.forgets.events("c" * 26)] == ["n1"]


def test_whoever_comes_upon_a_failure_that_waited_has_written(nodes):
    """So that a group of works is done again, one by one, and the failure is told to whom it belongs."""
    seen = []

    def insert_twice():
        with nodes.transaction() as tx:
            tx.nodes._insert(schema.node, node_id="n1", flower_public_key="", **KEYS, enrolled_at_ms=1)
            seen.append(tx.writes)
            try:
                tx.nodes.list()
            finally:
                seen.append(tx.writes)

    with pytest.raises(ConflictError):
        insert_twice()
    assert seen == [1, 2]
