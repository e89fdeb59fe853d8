"""Vectors of the certificate-transparency test suite (RFC 6962 reference implementation)."""

import pytest

from fleet.errors import InvalidInputError, ProofError
from fleet.trust import merkle

DATA = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
LEAVES = [merkle.leaf_hash(data) for data in DATA]
TREE = merkle.MemoryTree(LEAVES)
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_implementation(size):
    assert TREE.root(size).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing():
    assert merkle.MemoryTree([]).root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_leaf_cannot_pass_for_an_inner_node():
    assert merkle.leaf_hash(LEAVES[0] + LEAVES[1]) != merkle.node_hash(LEAVES[0], LEAVES[1])


def test_an_inclusion_path_of_the_reference_implementation():
    proof = TREE.prove_inclusion(2, size=3)
    assert [sibling.hex() for sibling in proof.path] == [ROOTS[1]]


def test_a_proof_of_a_leaf_that_is_not_there_is_refused():
    with pytest.raises(InvalidInputError, match="no leaf 8 in a tree of 8"):
        TREE.prove_inclusion(8)
    with pytest.raises(ProofError, match="a tree of 8 has no leaf 9"):
        merkle.verify_inclusion(merkle.InclusionProof(9, 8, ()), LEAVES[0], TREE.root())


def test_a_tree_cannot_have_shrunk():
    with pytest.raises(InvalidInputError, match="never had 9"):
        TREE.prove_consistency(9)
    with pytest.raises(ProofError, match="cannot shrink"):
        merkle.verify_consistency(8, bytes(32), 7, bytes(32), ())


def test_the_same_size_with_another_root_is_a_fork():
    with pytest.raises(ProofError, match="old root"):
        merkle.verify_consistency(8, bytes(32), 8, TREE.root(), ())


@pytest.mark.parametrize(("old_size", "message"), [(3, "too short"), (8, "too long"), (0, "too long")])
def test_a_consistency_proof_of_the_wrong_length_is_refused(old_size, message):
    proof = list(TREE.prove_consistency(old_size))
    wrong = proof[:-1] if message == "too short" else [*proof, bytes(32)]
    with pytest.raises(ProofError, match=message):
        merkle.verify_consistency(old_size, TREE.root(old_size), 8, TREE.root(), wrong)
