import pytest

from tests.unit.store.test_subject_and_revision_rows import ALICE, BOB, add


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def test_statistics_come_with_their_contribution_and_are_listed_without_their_bytes(tx):
    tx.subjects.contribute(BOB, "n2", 4, 5, b"sum", b"statistics of bob")
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"sum", b"statistics of alice")
    assert tx.heads.sources() == [(ALICE, "n1", 1), (BOB, "n2", 4)]
    assert [row.ciphertext for row in tx.heads.statistics()] == [b"statistics of alice", b"statistics of bob"]


def test_later_contribution_replaces_statistics_also_by_none(tx):
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"sum", b"old")
    tx.subjects.contribute(ALICE, "n1", 2, 5, b"sum", b"new")
    assert [row.ciphertext for row in tx.heads.statistics()] == [b"new"]
    assert not tx.subjects.contribute(ALICE, "n1", 2, 5, b"sum", b"repeated")
    tx.subjects.contribute(ALICE, "n1", 3, 5, b"sum")
    assert tx.heads.sources() == []


def test_forget_deletes_statistics_of_that_person_only(tx):
    for tag in (ALICE, BOB):
        for node_id in ("n1", "n2"):
            tx.subjects.contribute(tag, node_id, 1, 5, b"sum", b"statistics")
    tx.subjects.forget([ALICE], 1)
    assert tx.heads.sources() == [(BOB, "n1", 1), (BOB, "n2", 1)]


def test_public_codes_are_replaced_and_the_same_again_changes_nothing(tx):
    assert tx.heads.save_public_codes("n2", b"codes")
    assert not tx.heads.save_public_codes("n2", b"codes")
    assert tx.heads.save_public_codes("n2", b"others")
    assert tx.heads.save_public_codes("n1", b"codes")
    assert [(row.node_id, row.content) for row in tx.heads.public_codes()] == [("n1", b"codes"), ("n2", b"others")]
    assert [node_id for node_id, _ in tx.heads.public_digests()] == ["n1", "n2"]


def test_note_says_what_a_head_follows_from_and_whom_it_knows(tx):
    add(tx, 1, [ALICE, BOB])
    assert tx.heads.note_of(1) is None
    tx.heads.note(1, basis=b"inputs", error="", tags=[BOB, ALICE])
    assert (tx.heads.note_of(1).basis, tx.heads.note_of(1).error) == (b"inputs", "")
    assert tx.heads.tags_of(1) == [ALICE, BOB]
    assert tx.heads.knew([BOB])
    assert not tx.heads.knew(["cc" * 16])


def test_whom_a_head_has_known_stays_listed_when_it_is_dropped_or_noted_anew(tx):
    add(tx, 1, [ALICE, BOB])
    tx.heads.note(1, basis=b"inputs", error="", tags=[ALICE])
    tx.heads.drop_note(1)
    assert tx.heads.note_of(1) is None
    tx.heads.note(1, basis=b"other inputs", error="cannot be solved", tags=[])
    assert tx.heads.note_of(1).error == "cannot be solved"
    assert tx.heads.knew([ALICE])
