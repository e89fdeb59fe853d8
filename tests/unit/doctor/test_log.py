from __future__ import annotations

import sqlite3

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.signing import sign
from reram_fleet.v1.types_pb2 import Envelope, ForgetCommand

from fleet.trust.keys import CoordinatorKeys


def change(folder, statement, *values):
    with sqlite3.connect(folder.database) as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def entry(folder, generation):
    with sqlite3.connect(folder.database) as connection:
        (envelope,) = connection.execute("SELECT envelope FROM log_entry WHERE generation = ?", [generation]).fetchone()
    connection.close()
    return ForgetCommand.FromString(Envelope.FromString(envelope).payload)


def replace(folder, generation, envelope):
    content = envelope.SerializeToString()
    change(folder, "UPDATE log_entry SET envelope = ? WHERE generation = ?", content, generation)


def test_an_entry_that_somebody_else_signed_is_a_failure(folder, failure):
    replace(folder, 1, sign(Ed25519PrivateKey.generate(), entry(folder, 1)))
    assert "entry 1 is not what the coordinator signed" in failure("log").found


def test_a_forked_entry_is_a_failure_though_the_coordinator_signed_it(folder, failure):
    forked = entry(folder, 1)
    forked.issued_at_unix_ms += 1
    replace(folder, 1, CoordinatorKeys.load_or_create(folder.keys).sign(forked))
    assert "entry 2 follows" in failure("log").found


def test_the_newest_entry_forked_is_not_the_head_of_the_fleet(folder, failure):
    forked = entry(folder, 2)
    forked.issued_at_unix_ms += 1
    replace(folder, 2, CoordinatorKeys.load_or_create(folder.keys).sign(forked))
    assert "but its log ends at 2" in failure("log").found


def test_a_log_that_was_cut_off_is_a_failure(folder, failure):
    change(folder, "DELETE FROM log_entry WHERE generation = 2")
    assert "the fleet is at generation 2" in failure("log").found


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE tree_leaf SET data = x'00' WHERE leaf_index = 1", "leaf 1 of the Merkle log has another hash"),
        ("UPDATE tree_node SET hash = zeroblob(32) WHERE position = 3", "expected"),
        ("DELETE FROM tree_leaf WHERE leaf_index = 0", "leaf 0 of the Merkle log is missing"),
    ],
)
def test_a_merkle_log_that_was_changed_is_a_failure(folder, failure, statement, said):
    change(folder, statement)
    finding = failure("log")
    assert said in finding.found
    assert "restore" in finding.fix
