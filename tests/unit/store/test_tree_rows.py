import pytest

from fleet.errors import NotFoundError
from fleet.trust import merkle


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def test_leaves_are_numbered_and_proved_against_the_root(tx):
    leaves = [tx.tree.append("receipt", b"leaf %d" % number) for number in range(5)]
    assert [leaf.leaf_index for leaf in leaves] == [0, 1, 2, 3, 4]
    for leaf in leaves:
        merkle.verify_inclusion(tx.tree.prove_inclusion(leaf.leaf_index), leaf.hash, tx.tree.root())


def test_the_tree_only_appends(tx):
    for number in range(3):
        tx.tree.append("receipt", b"leaf %d" % number)
    old_root = tx.tree.root()
    for number in range(3, 7):
        tx.tree.append("forget-command", b"leaf %d" % number)
    assert tx.tree.root(3) == old_root
    merkle.verify_consistency(3, old_root, tx.tree.size(), tx.tree.root(), tx.tree.prove_consistency(3))


def test_roots_and_proofs_are_those_of_the_whole_tree_however_it_grew(store):
    data = [b"leaf %d" % number for number in range(70)]
    leaves = [merkle.leaf_hash(entry) for entry in data]
    whole = merkle.MemoryTree(leaves)
    for start, stop in ((0, 1), (1, 8), (8, 9), (9, 40), (40, 70)):
        with store.transaction() as tx:
            for entry in data[start:stop]:
                tx.tree.append("receipt", entry)
    with store.snapshot() as tx:
        for size in range(71):
            assert tx.tree.root(size) == whole.root(size)
            assert tx.tree.prove_consistency(size) == whole.prove_consistency(size)
            assert tx.tree.inclusion_proofs(leaves[:size], size) == whole.prove_inclusions(range(size), size)


def test_appending_a_leaf_twice_keeps_one(tx):
    first = tx.tree.append("receipt", b"leaf")
    assert tx.tree.append("receipt", b"leaf") == first
    assert tx.tree.size() == 1


def test_the_empty_tree_has_a_root_and_no_leaf(tx):
    assert tx.tree.root() == merkle.EMPTY_ROOT
    with pytest.raises(NotFoundError, match="no leaf"):
        tx.tree.inclusion_proofs([bytes(32)])
