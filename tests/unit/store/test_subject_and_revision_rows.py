import sqlite3

import pytest

from fleet.errors import ConflictError, InvalidInputError, NotFoundError, StaleContributionError, SubjectForgottenError
from tests.unit.store.kinds import sqlite_only

ALICE, BOB, CANARY = ("aa" * 16, "bb" * 16, "cc" * 16)


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def add(tx, number, tags, lora_tags=()):
    return tx.revisions.add(
        number,
        digest=b"d%d" % number,
        parent_digest=b"",
        built_at_generation=0,
        manifest=b"manifest",
        ciphertext=b"content of %d" % number,
        key_id=f"revision-{number}",
        tags=tags,
        lora_tags=lora_tags,
    )


# Subjects


def test_a_contribution_makes_its_subject_known(tx):
    assert not tx.subjects.known(ALICE)
    assert tx.subjects.contribute(ALICE, "n1", 1, 5, b"sum")
    assert tx.subjects.known(ALICE)
    assert not tx.subjects.get(ALICE).canary
    assert [(row.node_id, row.count, row.ciphertext) for row in tx.subjects.contributions(ALICE)] == [("n1", 5, b"sum")]


def test_a_higher_sequence_replaces_and_a_repeat_changes_nothing(tx):
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"old")
    assert tx.subjects.contribute(ALICE, "n1", 2, 9, b"new")
    assert not tx.subjects.contribute(ALICE, "n1", 2, 9, b"sealed again")
    with pytest.raises(StaleContributionError, match="contribution 1 of n1"):
        tx.subjects.contribute(ALICE, "n1", 1, 5, b"old")
    assert [row.ciphertext for row in tx.subjects.contributions()] == [b"new"]


def test_nodes_contribute_side_by_side(tx):
    for node_id in ("n2", "n1"):
        tx.subjects.contribute(ALICE, node_id, 1, 5, node_id.encode())
    assert [row.node_id for row in tx.subjects.contributions(ALICE)] == ["n1", "n2"]
    assert [row.tag for row in tx.subjects.contributions_of("n1")] == [ALICE]


def test_what_one_node_contributed_is_discarded_and_the_others_keep_theirs(tx):
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"sum", b"statistics")
    tx.subjects.contribute(ALICE, "n2", 1, 5, b"sum", b"statistics")
    tx.subjects.contribute(BOB, "n1", 1, 5, b"sum", b"statistics")
    assert tx.subjects.known_only_to("n1") == [BOB]
    assert tx.subjects.discard("n1") == 2
    assert [(row.tag, row.node_id) for row in tx.subjects.contributions()] == [(ALICE, "n2")]
    assert [(tag, node_id) for tag, node_id, _ in tx.heads.sources()] == [(ALICE, "n2")]
    assert tx.subjects.discard("n1") == 0


@pytest.mark.parametrize(("sequence", "count"), [(1, 0), (-1, 1)])
def test_a_contribution_of_nothing_is_refused(tx, sequence, count):
    with pytest.raises(InvalidInputError):
        tx.subjects.contribute(ALICE, "n1", sequence, count, b"sum")


def test_a_forgotten_subject_loses_its_contributions_and_gets_no_new_ones(tx):
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"alice")
    tx.subjects.contribute(BOB, "n1", 2, 5, b"bob")
    tx.subjects.forget([ALICE], 7)
    assert [row.tag for row in tx.subjects.contributions()] == [BOB]
    assert [row.tag for row in tx.subjects.list()] == [BOB]
    assert [row.forgotten_generation for row in tx.subjects.list(forgotten=True)] == [7]
    with pytest.raises(SubjectForgottenError, match="forgotten at generation 7"):
        tx.subjects.contribute(ALICE, "n2", 9, 5, b"back again")


def test_a_tag_that_was_never_seen_gets_a_tombstone_too(tx):
    tx.subjects.forget([ALICE], 7)
    with pytest.raises(SubjectForgottenError):
        tx.subjects.contribute(ALICE, "n1", 1, 5, b"from a node that was offline")


def test_forgetting_again_keeps_the_first_generation(tx):
    tx.subjects.forget([ALICE], 7)
    tx.subjects.forget([ALICE], 8)
    assert tx.subjects.get(ALICE).forgotten_generation == 7


@sqlite_only
def test_a_deleted_contribution_is_not_left_in_the_file(store, url):
    with store.transaction() as tx:
        tx.subjects.contribute(ALICE, "n1", 1, 5, b"planted-" * 40)
    with store.transaction() as tx:
        tx.subjects.forget([ALICE], 1)
    store.close()
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with open(path, "rb") as file:
        assert b"planted-planted-" not in file.read()


def test_a_canary_is_live_until_it_is_forgotten_and_stays_known_as_one(tx):
    tx.subjects.add_canary(CANARY)
    assert tx.subjects.live_canaries() == [CANARY]
    tx.subjects.forget([CANARY], 1)
    assert tx.subjects.live_canaries() == []
    assert tx.subjects.get(CANARY).canary


def test_a_canary_cannot_take_a_tag_nor_a_person_a_canarys(tx):
    tx.subjects.contribute(ALICE, "n1", 1, 5, b"sum")
    with pytest.raises(ConflictError, match="taken"):
        tx.subjects.add_canary(ALICE)
    tx.subjects.add_canary(CANARY)
    with pytest.raises(ConflictError, match="in use"):
        tx.subjects.contribute(CANARY, "n1", 1, 5, b"sum")


def test_an_unknown_subject_is_not_found(tx):
    assert tx.subjects.find(ALICE) is None
    with pytest.raises(NotFoundError):
        tx.subjects.get(ALICE)


# Revisions


def test_the_newest_revision_supersedes_the_one_before(tx):
    add(tx, 1, [ALICE])
    second = add(tx, 2, [ALICE, BOB], lora_tags=[BOB])
    assert tx.revisions.latest() == second
    assert [row.state for row in tx.revisions.list()] == ["superseded", "active"]
    assert (second.tags, second.lora_tags, second.has_lora) == ((ALICE, BOB), (BOB,), True)
    assert tx.revisions.find(9) is None
    with pytest.raises(NotFoundError):
        tx.revisions.get(9)


@pytest.mark.parametrize("number", [4, 5])
def test_numbers_of_revisions_increase(tx, number):
    add(tx, 5, [ALICE])
    with pytest.raises(ConflictError, match=f"revision {number} does not follow 5"):
        add(tx, number, [ALICE])


def test_no_revision_names_somebody_forgotten(tx):
    tx.subjects.forget([ALICE], 1)
    with pytest.raises(ConflictError, match="names 1 forgotten"):
        add(tx, 1, [BOB], lora_tags=[ALICE])


def test_erasing_wipes_every_revision_that_names_the_tag_and_no_other(tx):
    add(tx, 1, [BOB])
    add(tx, 2, [ALICE])
    add(tx, 3, [BOB], lora_tags=[ALICE])
    assert tx.revisions.erase([ALICE]) == [2, 3]
    assert [row.ciphertext for row in tx.revisions.list()] == [b"content of 1", None, None]
    assert [row.state for row in tx.revisions.list()] == ["superseded", "erased", "erased"]
    assert tx.revisions.erase([ALICE]) == [2, 3]


def test_superseded_content_can_be_wiped_without_touching_the_active_one(tx):
    add(tx, 1, [])
    add(tx, 2, [ALICE])
    assert tx.revisions.wipe_superseded() == [1]
    assert tx.revisions.wipe_superseded() == []
    assert [row.ciphertext for row in tx.revisions.list()] == [None, b"content of 2"]


def test_the_desired_revision_never_goes_back(tx):
    tx.fleet.set_desired_revision(2)
    with pytest.raises(ConflictError, match="older than the desired one"):
        tx.fleet.set_desired_revision(1)


def test_there_is_one_fleet(tx):
    with pytest.raises(ConflictError, match="already holds fleet f1"):
        tx.fleet.create("f2")


def test_a_redacted_revision_has_what_is_left_under_another_key(tx):
    add(tx, 1, [ALICE])
    tx.revisions.redact(1, ciphertext=b"what is left", key_id="revision-1-at-4")
    row = tx.revisions.get(1)
    assert (row.ciphertext, row.key_id) == (b"what is left", "revision-1-at-4")
    assert row.tags == (ALICE,)


def test_an_erased_revision_stays_erased_when_it_is_redacted(tx):
    add(tx, 1, [ALICE])
    tx.revisions.erase([ALICE])
    tx.revisions.redact(1, ciphertext=b"what is left", key_id="revision-1-at-4")
    assert tx.revisions.get(1).ciphertext is None
