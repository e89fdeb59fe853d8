import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProofError
from fleet.trust import merkle

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def tree_of(data):
    return merkle.MemoryTree([merkle.leaf_hash(entry) for entry in data])


def oracle(data):
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in data:
        tree.append_entry(entry)
    return tree


@given(LEAVES)
def test_roots_are_those_of_pymerkle(data):
    assert tree_of(data).root() == oracle(data).get_root()


@given(LEAVES, st.data())
def test_inclusion_proofs_hold_here_and_name_the_hashes_of_pymerkle(data, draw):
    index = draw.draw(st.integers(0, len(data) - 1))
    size = draw.draw(st.integers(index + 1, len(data)))
    proof = tree_of(data).prove_inclusion(index, size)
    merkle.verify_inclusion(proof, merkle.leaf_hash(data[index]), tree_of(data).root(size))
    # pymerkle lists the leaf itself first, then the siblings.
    path = oracle(data[:size]).prove_inclusion(index + 1).path
    assert list(proof.path) == list(path[1:])


@given(LEAVES, st.data())
def test_consistency_holds_between_any_two_sizes(data, draw):
    old_size, tree = draw.draw(st.integers(0, len(data))), tree_of(data)
    old_root, proof = tree_of(data[:old_size]).root(), tree.prove_consistency(old_size)
    assert tree.root(old_size) == old_root
    merkle.verify_consistency(old_size, old_root, len(data), tree.root(), proof)


@given(LEAVES, st.data())
def test_a_rewritten_history_is_never_consistent(data, draw):
    old_size = draw.draw(st.integers(1, len(data)))
    changed = draw.draw(st.integers(0, old_size - 1))
    old_root = tree_of(data[:old_size]).root()
    forged = tree_of([*data[:changed], data[changed] + b"!", *data[changed + 1 :]])
    with pytest.raises(ProofError):
        merkle.verify_consistency(old_size, old_root, len(data), forged.root(), forged.prove_consistency(old_size))


@given(LEAVES, st.data())
def test_no_other_leaf_passes_with_the_proof_of_one(data, draw):
    index, tree = draw.draw(st.integers(0, len(data) - 1)), tree_of(data)
    with pytest.raises(ProofError, match="expected"):
        merkle.verify_inclusion(tree.prove_inclusion(index), merkle.leaf_hash(data[index] + b"!"), tree.root())


@given(LEAVES, st.data())
def test_a_proof_with_a_hash_more_or_less_is_refused(data, draw):
    index, tree = draw.draw(st.integers(0, len(data) - 1)), tree_of(data)
    proof, leaf = tree.prove_inclusion(index), merkle.leaf_hash(data[index])
    longer = merkle.InclusionProof(index, len(data), (*proof.path, bytes(32)))
    with pytest.raises(ProofError, match="too long"):
        merkle.verify_inclusion(longer, leaf, tree.root())
    if proof.path:
        shorter = merkle.InclusionProof(index, len(data), proof.path[:-1])
        with pytest.raises(ProofError, match="too short"):
            merkle.verify_inclusion(shorter, leaf, tree.root())
