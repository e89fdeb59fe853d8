"""Signers of a coordinator: one suite over key files and keys in memory, and over whatever answers for an HSM."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from reram_fleet.crypto.sealing import SealError, seal
from reram_fleet.crypto.signing import open_envelope, pae
from reram_fleet.crypto.testing import seeded
from reram_fleet.v1.types_pb2 import Lease

from fleet.trust.keys import CoordinatorKeys, PrivateKeys, Signer


@pytest.fixture(params=["files", "memory"])
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    return CoordinatorKeys.load_or_create(tmp_path / "keys") if request.param == "files" else PrivateKeys.drawn()


def test_what_it_signs_verifies_with_its_public_key(signer: Signer) -> None:
    envelope = signer.sign(Lease(node_id="n1"))
    assert open_envelope(envelope, Lease, signer.command_public_key).node_id == "n1"
    key = Ed25519PublicKey.from_public_bytes(signer.command_public_key)
    key.verify(signer.sign_payload("text/plain", b"words"), pae("text/plain", b"words"))


def test_it_opens_what_was_sealed_to_it_for_the_purpose(signer: Signer) -> None:
    sealed = seal(signer.sealing_public_key, "use", b"secret")
    assert signer.open("use", sealed) == b"secret"
    with pytest.raises(SealError):
        signer.open("other", sealed)


def test_keys_that_are_drawn_from_one_seed_are_the_same() -> None:
    first, second, other = (PrivateKeys.drawn(seeded(seed).draw) for seed in (1, 1, 2))
    assert first.command_public_key == second.command_public_key != other.command_public_key
    assert first.sealing_public_key == second.sealing_public_key != other.sealing_public_key
