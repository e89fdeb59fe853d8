"""Randomness that a seed repeats: one suite with the machine's, and what only the twin can do."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.crypto.sealing import SealError, open_sealed
from reram_fleet.crypto.testing import seeded

RECEIVER = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = RECEIVER.public_key().public_bytes_raw()


@pytest.fixture(params=["the machine's", "seeded"])
def randomness(request: pytest.FixtureRequest) -> Randomness:
    return seeded(1) if request.param == "seeded" else SYSTEM


def test_as_many_bytes_are_drawn_as_were_asked_for_and_never_the_same(randomness: Randomness) -> None:
    assert [len(randomness.draw(size)) for size in (0, 1, 32)] == [0, 1, 32]
    assert randomness.draw(16) != randomness.draw(16)


def test_what_is_sealed_opens_for_its_receiver_and_its_purpose_only(randomness: Randomness) -> None:
    sealed = randomness.seal(PUBLIC, "use", b"codes")
    assert open_sealed(RECEIVER, "use", sealed) == b"codes"
    assert sealed != randomness.seal(PUBLIC, "use", b"codes")
    with pytest.raises(SealError):
        open_sealed(RECEIVER, "other", sealed)
    with pytest.raises(SealError):
        open_sealed(X25519PrivateKey.generate(), "use", sealed)


def test_nothing_is_sealed_to_a_key_that_is_none(randomness: Randomness) -> None:
    with pytest.raises(SealError):
        randomness.seal(bytes(32), "use", b"codes")
    with pytest.raises(SealError):
        randomness.seal(bytes(31), "use", b"codes")


def test_a_seed_repeats_everything() -> None:
    first, second, other = seeded(1), seeded(1), seeded(2)
    assert first.draw(32) == second.draw(32) != other.draw(32)
    assert first.seal(PUBLIC, "use", b"codes") == second.seal(PUBLIC, "use", b"codes")
