from __future__ import annotations

import os

import pytest

from fleet.coordinator.authentication import LIFETIME_S, ChallengeError, Challenges


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def challenges(clock):
    return Challenges(clock)


def test_challenge_may_be_answered_once(challenges):
    nonce = challenges.new()
    challenges.take(nonce)
    with pytest.raises(ChallengeError, match="answered before"):
        challenges.take(nonce)


def test_challenge_whose_hello_did_not_hold_may_be_answered_again(challenges):
    nonce = challenges.new()
    challenges.take(nonce)
    challenges.give_back(nonce)
    challenges.take(nonce)


def test_challenge_expires(challenges, clock):
    early, late = challenges.new(), challenges.new()
    clock.now_s += LIFETIME_S
    challenges.take(early)
    clock.now_s += 0.001
    with pytest.raises(ChallengeError, match="expired"):
        challenges.take(late)


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 16), slice(0, 31), slice(1, 32)])
def test_what_was_never_given_out_is_refused(challenges, cut):
    with pytest.raises(ChallengeError, match="another challenge"):
        challenges.take(challenges.new()[cut])


def test_challenge_of_another_process_is_refused(challenges, clock):
    with pytest.raises(ChallengeError, match="another challenge"):
        challenges.take(Challenges(clock).new())
    with pytest.raises(ChallengeError, match="another challenge"):
        challenges.take(os.urandom(32))


def test_challenge_that_was_answered_stays_so_until_it_has_expired(challenges, clock):
    """Forgetting an answered nonce must not make it good again."""
    clock.now_s += 1
    nonce = challenges.new()
    clock.now_s += LIFETIME_S
    challenges.take(nonce)
    for _ in range(3):
        challenges.take(challenges.new())
        with pytest.raises(ChallengeError):
            challenges.take(nonce)
        clock.now_s += LIFETIME_S - 1
