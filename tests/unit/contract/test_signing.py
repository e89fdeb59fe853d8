"""Signed envelopes: what is accepted is what that key signed, as that type, to the byte."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from reram_fleet.crypto.signing import SignatureError, key_id, open_envelope, pae, payload_hash, sign
from reram_fleet.v1 import types_pb2 as types

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
LEASE = types.Lease(fleet_id="f", node_id="node-1", generation=7, sequence=1, request_nonce=b"n", max_age_ms=9)


def test_envelope_gives_back_what_was_signed() -> None:
    assert open_envelope(sign(KEY, LEASE), types.Lease, PUBLIC) == LEASE


def test_pre_authentication_encoding_is_that_of_dsse() -> None:
    # The example of DSSE's protocol.md.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_signature_is_plain_ed25519_over_that_encoding() -> None:
    envelope = sign(KEY, LEASE)
    KEY.public_key().verify(envelope.signature, pae("reram_fleet.v1.Lease", envelope.payload))
    assert envelope.key_id == key_id(PUBLIC) == hashlib.sha256(PUBLIC).hexdigest()
    assert payload_hash(envelope) == hashlib.sha256(envelope.payload).digest()


def test_envelope_of_another_key_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(SignatureError, match="is signed by key"):
        open_envelope(sign(other, LEASE), types.Lease, PUBLIC)


def test_envelope_of_another_key_that_names_ours_is_refused() -> None:
    forged = sign(Ed25519PrivateKey.generate(), LEASE)
    forged.key_id = key_id(PUBLIC)
    with pytest.raises(SignatureError, match="does not match its bytes"):
        open_envelope(forged, types.Lease, PUBLIC)


def test_envelope_of_another_type_is_refused() -> None:
    with pytest.raises(SignatureError, match=r"expected a reram_fleet\.v1\.JobTicket"):
        open_envelope(sign(KEY, LEASE), types.JobTicket, PUBLIC)


def test_relabelled_envelope_is_refused_although_the_bytes_were_signed() -> None:
    relabelled = sign(KEY, LEASE)
    relabelled.payload_type = "reram_fleet.v1.JobTicket"
    with pytest.raises(SignatureError, match="does not match its bytes"):
        open_envelope(relabelled, types.JobTicket, PUBLIC)


@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    envelope = sign(KEY, LEASE)
    part = data.draw(st.sampled_from(["payload", "signature"]))
    content = bytearray(getattr(envelope, part))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    setattr(envelope, part, bytes(content))
    with pytest.raises(SignatureError):
        open_envelope(envelope, types.Lease, PUBLIC)


def test_signed_bytes_that_are_no_message_are_refused() -> None:
    envelope = sign(KEY, LEASE)
    envelope.payload = b"\xff\xff\xff"
    envelope.signature = KEY.sign(pae(envelope.payload_type, envelope.payload))
    with pytest.raises(SignatureError, match=r"are not a reram_fleet\.v1\.Lease"):
        open_envelope(envelope, types.Lease, PUBLIC)
