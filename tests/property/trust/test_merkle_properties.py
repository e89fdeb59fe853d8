import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ProofError
from fleet.trust import merkle

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def hashed(data):
    return [merkle.leaf_hash(entry) for entry in data]


def oracle(data):
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in data:
        tree.append_entry(entry)
    return tree


@given(LEAVES)
def test_roots_are_those_of_pymerkle(data):
    assert merkle.root_hash(hashed(data)) == oracle(data).get_root()


@given(LEAVES, st.data())
def test_inclusion_proofs_hold_here_and_name_the_hashes_of_pymerkle(data, draw):
    index = draw.draw(st.integers(0, len(data) - 1))
    leaves = hashed(data)
    proof = merkle.prove_inclusion(leaves, index)
    merkle.verify_inclusion(proof, leaves[index], merkle.root_hash(leaves))
    # pymerkle lists the leaf itself first, then the siblings.
    path = oracle(data).prove_inclusion(index + 1).path
    assert list(proof.path) == list(path[1:])


@given(LEAVES, st.data())
def test_consistency_holds_between_any_two_sizes(data, draw):
    old_size = draw.draw(st.integers(0, len(data)))
    leaves = hashed(data)
    merkle.verify_consistency(
        old_size,
        merkle.root_hash(leaves[:old_size]),
        len(leaves),
        merkle.root_hash(leaves),
        merkle.prove_consistency(leaves, old_size),
    )


@given(LEAVES, st.data())
def test_a_rewritten_history_is_never_consistent(data, draw):
    old_size = draw.draw(st.integers(1, len(data)))
    changed = draw.draw(st.integers(0, old_size - 1))
    leaves = hashed(data)
    forged = [*leaves[:changed], merkle.leaf_hash(data[changed] + b"!"), *leaves[changed + 1 :]]
    with pytest.raises(ProofError):
        merkle.verify_consistency(
            old_size,
            merkle.root_hash(leaves[:old_size]),
            len(forged),
            merkle.root_hash(forged),
            merkle.prove_consistency(forged, old_size),
        )


@given(LEAVES, st.data())
def test_no_other_leaf_passes_with_the_proof_of_one(data, draw):
    index = draw.draw(st.integers(0, len(data) - 1))
    leaves = hashed(data)
    proof = merkle.prove_inclusion(leaves, index)
    with pytest.raises(ProofError, match="expected"):
        merkle.verify_inclusion(proof, merkle.leaf_hash(data[index] + b"!"), merkle.root_hash(leaves))


@given(LEAVES, st.data())
def test_a_proof_with_a_hash_more_or_less_is_refused(data, draw):
    index = draw.draw(st.integers(0, len(data) - 1))
    leaves = hashed(data)
    proof = merkle.prove_inclusion(leaves, index)
    longer = merkle.InclusionProof(index, len(data), (*proof.path, bytes(32)))
    with pytest.raises(ProofError, match="too long"):
        merkle.verify_inclusion(longer, leaves[index], merkle.root_hash(leaves))
    if proof.path:
        shorter = merkle.InclusionProof(index, len(data), proof.path[:-1])
        with pytest.raises(ProofError, match="too short"):
            merkle.verify_inclusion(shorter, leaves[index], merkle.root_hash(leaves))
