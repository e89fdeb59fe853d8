"""Challenges that hellos answer."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Callable

from fleet.errors import FleetError

#: From a challenge to the hello that answers it.
LIFETIME_S = 30.0
_BODY_BYTES = 16
_MAC_BYTES = 16


class ChallengeError(FleetError):
    """A hello answers no challenge that is open: never given out, expired, or answered before."""


class Challenges:
    """Nonces of one coordinator process, each good for one stream.

    They are recognised by a MAC over their time, so that giving them to whoever asks takes no memory; only
    those with which a stream was opened are remembered, until they expire.

    Parameters
    ----------
    now_s
        Clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s, self._key = now_s, os.urandom(32)
        self._taken: dict[bytes, float] = {}

    def new(self) -> bytes:
        """Return a fresh nonce (32 bytes)."""
        body = struct.pack(">d", self._now_s()) + os.urandom(_BODY_BYTES - 8)
        return body + self._mac(body)

    def take(self, nonce: bytes) -> None:
        """Take a nonce off those that may be answered.

        Raises
        ------
        ChallengeError
            If it is not one of them.
        """
        now_s = self._now_s()
        while self._taken and now_s - next(iter(self._taken.values())) > LIFETIME_S:
            del self._taken[next(iter(self._taken))]
        body, mac = nonce[:_BODY_BYTES], nonce[_BODY_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise ChallengeError("the hello answers another challenge than one of this coordinator")
        if now_s - struct.unpack(">d", body[:8])[0] > LIFETIME_S or nonce in self._taken:
            raise ChallengeError("the hello answers another challenge: this one expired, or was answered before")
        self._taken[nonce] = now_s

    def give_back(self, nonce: bytes) -> None:
        """Let a nonce be answered again: the hello did not hold."""
        self._taken.pop(nonce, None)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]
