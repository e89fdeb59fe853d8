"""Test doubles of what both sides take from the machine: randomness that a seed repeats."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from reram_fleet.crypto.randomness import Randomness
from reram_fleet.crypto.sealing import SealError
from reram_fleet.v1.types_pb2 import Sealed

_KEM_ID, _SUITE_ID = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def seeded(seed: int) -> Randomness:
    """Return randomness that is the same for the same seed. It protects nothing."""
    draw = random.Random(seed).randbytes
    # Not a function of its own: a simulation that is saved has this in it.
    return Randomness(draw, partial(_seal, draw))


def _seal(draw: Callable[[int], bytes], public_key: bytes, purpose: str, plaintext: bytes) -> Sealed:
    ephemeral = X25519PrivateKey.from_private_bytes(draw(32))
    try:
        return Sealed(purpose=purpose, ciphertext=_sealed(ephemeral, public_key, purpose.encode(), plaintext))
    except ValueError as error:
        raise SealError(f"nothing can be sealed to this public key for {purpose!r}: {error}") from error


def _sealed(ephemeral: X25519PrivateKey, public_key: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Return what `sealing.seal` encrypts, under an ephemeral key that is given: RFC 9180, 4.1 and 5.1, base mode.

    The library that opens it draws that key by itself.
    """
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    sender = ephemeral.public_key().public_bytes_raw()
    secret = _expand(_KEM_ID, _extract(_KEM_ID, b"", b"eae_prk", shared), b"shared_secret", sender + public_key, 32)
    hashes = _extract(_SUITE_ID, b"", b"psk_id_hash", b"") + _extract(_SUITE_ID, b"", b"info_hash", info)
    scheduled, context = _extract(_SUITE_ID, secret, b"secret", b""), b"\x00" + hashes
    key = _expand(_SUITE_ID, scheduled, b"key", context, 32)
    nonce = _expand(_SUITE_ID, scheduled, b"base_nonce", context, 12)
    return sender + ChaCha20Poly1305(key).encrypt(nonce, plaintext, b"")


def _extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return HKDF.extract(SHA256(), salt, b"HPKE-v1" + suite + label + key)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info).derive(key)
