"""Identities of nodes: which keys may be enrolled, and by whom."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.identities import IdentityError, check_identity, prove_possession
from reram_fleet.v1.types_pb2 import NodeIdentity

P = 2**255 - 19


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


# The eight points of small order, as ed25519 encodes them, and encodings of them that are not canonical.
ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
SMALL_ED25519 = {
    f"y={name}, sign {sign}": encoded(y, sign)
    for name, y in [("0", 0), ("1", 1), ("-1", P - 1), ("order 8", ORDER_8), ("-order 8", P - ORDER_8)]
    for sign in (0, 1)
}
NOT_CANONICAL = {f"p+{more}": encoded(P + more, sign) for more in range(19) for sign in (0, 1)}
# RFC 7748, section 7, and the list of curve25519's author: what gives zero with every private key.
SMALL_X25519 = {
    "0": encoded(0),
    "1": encoded(1),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "order 8, other": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "-1": encoded(P - 1),
    "p": encoded(P),
    "p+1": encoded(P + 1),
}


def identity(key: Ed25519PrivateKey, **changes: object) -> NodeIdentity:
    made = NodeIdentity(
        node_id="node-1",
        receipt_public_key=key.public_key().public_bytes_raw(),
        sealing_public_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),
        flower_public_key="ecdsa-sha2-nistp384 AAAA",
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def test_identity_of_whoever_has_the_keys_may_be_enrolled(key: Ed25519PrivateKey) -> None:
    check_identity(prove_possession(identity(key), key))


def test_identity_without_proof_is_refused(key: Ed25519PrivateKey) -> None:
    with pytest.raises(IdentityError, match="does not prove"):
        check_identity(identity(key))


def test_proof_of_another_key_is_refused(key: Ed25519PrivateKey) -> None:
    with pytest.raises(IdentityError, match="not of these keys"):
        check_identity(prove_possession(identity(key), Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("field", ["node_id", "sealing_public_key", "flower_public_key"])
def test_proof_of_another_identity_of_the_same_key_is_refused(key: Ed25519PrivateKey, field: str) -> None:
    proven = prove_possession(identity(key), key)
    other = {"sealing_public_key": X25519PrivateKey.generate().public_key().public_bytes_raw()}
    setattr(proven, field, other.get(field, "another"))
    with pytest.raises(IdentityError, match="not of these keys"):
        check_identity(proven)


@pytest.mark.parametrize("name", SMALL_ED25519)
def test_ed25519_key_of_small_order_is_refused(name: str) -> None:
    with pytest.raises(signing.SignatureError, match="small order"):
        signing.check_public_key(SMALL_ED25519[name])


@pytest.mark.parametrize("name", NOT_CANONICAL)
def test_ed25519_key_that_is_not_canonical_is_refused(name: str) -> None:
    with pytest.raises(signing.SignatureError, match="not canonical"):
        signing.check_public_key(NOT_CANONICAL[name])


def test_one_signature_fits_everything_under_a_key_of_small_order() -> None:
    """Why they are refused: proof of possession does not help against them."""
    neutral, constant = encoded(1), encoded(1) + bytes(32)
    for message in (b"receipt", b"hello", b"proof of possession"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(constant, message)


@pytest.mark.parametrize("name", SMALL_X25519)
def test_x25519_key_of_low_order_is_refused_and_nothing_is_sealed_to_it(name: str) -> None:
    with pytest.raises(sealing.SealError, match="low order"):
        sealing.check_public_key(SMALL_X25519[name])
    with pytest.raises(sealing.SealError, match="nothing can be sealed"):
        sealing.seal(SMALL_X25519[name], "use", b"secret")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(signing.SignatureError, match=f"{size} bytes long"):
        signing.check_public_key(bytes(size))
    with pytest.raises(sealing.SealError, match=f"{size} bytes long"):
        sealing.check_public_key(bytes(size))
    with pytest.raises(sealing.SealError, match="nothing can be sealed"):
        sealing.seal(bytes(size), "use", b"secret")


@pytest.mark.parametrize("field", ["receipt_public_key", "sealing_public_key"])
def test_identity_with_a_weak_key_is_refused(key: Ed25519PrivateKey, field: str) -> None:
    with pytest.raises(IdentityError, match="public key of node 'node-1' cannot be used"):
        check_identity(prove_possession(identity(key, **{field: encoded(1)}), key))


@given(st.binary(min_size=32, max_size=32))
def test_keys_that_were_generated_are_accepted(seed: bytes) -> None:
    signing.check_public_key(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
    sealing.check_public_key(X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
