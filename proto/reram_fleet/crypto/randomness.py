"""Source of randomness: the machine's, unless a test or a simulation passes in another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from reram_fleet.crypto import sealing
from reram_fleet.v1.types_pb2 import Sealed


@dataclass(frozen=True)
class Randomness:
    """Source of all that nobody may foresee: keys, nonces, ids, and the ephemeral keys of what is sealed.

    That of `reram_fleet.crypto.testing.seeded` gives the same again.
    """

    #: Returns so many random bytes.
    draw: Callable[[int], bytes] = os.urandom
    #: Encrypts to the holder of a public key, for a purpose: `sealing.seal`, whose library draws by itself.
    seal: Callable[[bytes, str, bytes], Sealed] = sealing.seal


SYSTEM = Randomness()
