"""What is sealed opens for one key and one use, and not at all once a byte of it was changed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from reram_fleet.crypto import sealing
from reram_fleet.crypto.sealing import SealError, open_sealed, open_symmetric, seal, seal_symmetric

RECEIVER = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = RECEIVER.public_key().public_bytes_raw()
KEY = bytes(range(32))


def test_receiver_opens_what_was_sealed_to_it() -> None:
    assert open_sealed(RECEIVER, "use", seal(PUBLIC, "use", b"codes")) == b"codes"


def test_another_receiver_opens_nothing() -> None:
    with pytest.raises(SealError, match="cannot open"):
        open_sealed(X25519PrivateKey.generate(), "use", seal(PUBLIC, "use", b"codes"))


def test_sealed_for_one_use_does_not_open_for_another() -> None:
    sealed = seal(PUBLIC, "use", b"codes")
    with pytest.raises(SealError, match="sealed for 'use', expected 'other'"):
        open_sealed(RECEIVER, "other", sealed)
    # Nor if the label is changed along with it.
    sealed.purpose = "other"
    with pytest.raises(SealError, match="cannot open"):
        open_sealed(RECEIVER, "other", sealed)


def test_symmetric_ciphertext_opens_under_its_key_and_purpose_only() -> None:
    ciphertext = seal_symmetric(KEY, "use", b"codes")
    assert open_symmetric(KEY, "use", ciphertext) == b"codes"
    with pytest.raises(SealError):
        open_symmetric(sealing.new_key(), "use", ciphertext)
    with pytest.raises(SealError):
        open_symmetric(KEY, "other", ciphertext)


def test_same_plaintext_is_never_sealed_to_the_same_bytes() -> None:
    assert seal_symmetric(KEY, "use", b"codes") != seal_symmetric(KEY, "use", b"codes")
    assert seal(PUBLIC, "use", b"codes").ciphertext != seal(PUBLIC, "use", b"codes").ciphertext


@given(st.data())
def test_any_changed_byte_makes_it_unreadable(data: st.DataObject) -> None:
    sealed = seal(PUBLIC, "use", b"codes")
    changed = bytearray(sealed.ciphertext)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    sealed.ciphertext = bytes(changed)
    with pytest.raises(SealError):
        open_sealed(RECEIVER, "use", sealed)
    symmetric = bytearray(seal_symmetric(KEY, "use", b"codes"))
    symmetric[data.draw(st.integers(0, len(symmetric) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        open_symmetric(KEY, "use", bytes(symmetric))


@pytest.mark.parametrize("length", [0, 5, 12, 27])
def test_ciphertext_that_was_cut_short_is_a_seal_error(length: int) -> None:
    with pytest.raises(SealError):
        open_symmetric(KEY, "use", seal_symmetric(KEY, "use", b"")[:length])
    sealed = seal(PUBLIC, "use", b"codes")
    sealed.ciphertext = sealed.ciphertext[:length]
    with pytest.raises(SealError):
        open_sealed(RECEIVER, "use", sealed)


def test_every_purpose_names_all_that_it_is_bound_to() -> None:
    purposes = {
        sealing.state_purpose("job-1"),
        sealing.state_purpose("job-2"),
        sealing.job_key_purpose("job-1", "node-1"),
        sealing.job_key_purpose("job-1", "node-2"),
        sealing.revision_purpose("fleet", 1, "node-1"),
        sealing.revision_purpose("fleet", 2, "node-1"),
        sealing.revision_purpose("fleet", 1, "node-2"),
        sealing.contribution_purpose("fleet", "node-1", "tag"),
        sealing.contribution_purpose("fleet", "node-2", "tag"),
    }
    assert len(purposes) == 9
