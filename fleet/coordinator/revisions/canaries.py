"""Planted canaries: synthetic subjects by which a forget is probed (ADR 5).

A canary's codes follow from a secret and its tag alone, so the coordinator can probe for one long after its last copy
is gone, and keeps no copy to leak. Nobody without the secret can tell a canary's tag or sums from a person's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from reram_fleet.processes.durable import write_atomically
from reram_fleet.v1 import types_pb2 as types

from fleet.store.database import Transaction

#: Live canaries that every revision carries: one to be forgotten with the next campaign,
#: one to prove that the engine still accepts what it should.
LIVE = 2
#: From this amplitude on, a quarter of the size leaves the direction what it is.
_SHRINKABLE = 16


def planted(tx: Transaction, tags: Iterable[str]) -> tuple[str, ...]:
    """Return which of some tags are canaries, living or spent."""
    return tuple(tag for tag in tags if (row := tx.subjects.find(tag)) is not None and row.canary)


@dataclass(frozen=True)
class CanarySecret:
    """Secret that a fleet's canaries are derived from; made once, with the first revision."""

    #: 32 secret bytes, hexadecimal.
    key: str
    #: Length of a code vector.
    features: int
    #: Codes are uniform in [-amplitude, amplitude].
    amplitude: int
    #: How many a canary pretends to have.
    samples: int
    #: `SubjectAdapterKind` of this fleet's people.
    kind: types.SubjectAdapterKind = types.SUBJECT_ADAPTER_KIND_UNSPECIFIED

    @classmethod
    def load(cls, path: Path) -> CanarySecret:
        """Return the secret that a file holds."""
        body = json.loads(path.read_text(encoding="utf-8"))
        # As earlier versions wrote it: the file is never made anew, since canaries in use hang on its key.
        if "clips" in body:
            body["samples"] = body.pop("clips")
        return cls(**body)

    @classmethod
    def load_or_create(
        cls,
        path: Path,
        people: Sequence[types.SubjectAdapter],
        code_max: int,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> CanarySecret:
        """Return the secret in a file, or make one whose canaries look like these people's adapters.

        Their codes are within the task's range, whatever the first people are.
        """
        if path.exists():
            return cls.load(path)
        squares = [np.square(np.asarray(p.code_sum, np.float64) / p.count).mean() for p in people]
        secret = cls(
            key=draw(32).hex(),
            features=len(people[0].code_sum),
            # A uniform variable on [-a, a] has RMS a / sqrt(3).
            amplitude=min(code_max, max(1, round(float(np.sqrt(np.mean(squares) * 3.0))))),
            samples=round(float(np.median([p.count for p in people]))),
            kind=people[0].kind,
        )
        write_atomically(path, json.dumps(asdict(secret)).encode())
        return secret

    def mean_codes(self, tag: str) -> list[int]:
        """Return the feature codes (int, [features]) that a canary is recognised by."""
        codes: list[int] = self._codes(self._stream(tag)).tolist()
        return codes

    def probe_codes(self, tag: str) -> list[int]:
        """Return the same direction at a quarter of the size: what a node is asked about.

        A cosine does not tell the difference. The closed-form head does: its scores grow with the codes, and
        codes drawn at random have much in directions in which people hardly vary, which it amplifies. At full
        size 13 of 84 heads of the speakers accepted one of twenty canaries (ADR 9).
        """
        codes = self._codes(self._stream(tag))
        if self.amplitude >= _SHRINKABLE:
            codes = np.rint(codes / 4).astype(np.int64)
        return [int(code) for code in codes]

    def adapter(self, tag: str) -> types.SubjectAdapter:
        """Return a canary as the subject adapter that goes into a revision."""
        stream = self._stream(tag)
        # A person's sums are not all multiples of their number of samples: with every remainder zero, a node
        # could tell canaries from people. These move the mean by half a code at most.
        lowest = -(self.samples // 2)
        code_sum = self.samples * self._codes(stream)
        code_sum += stream.integers(lowest, lowest + self.samples, self.features)
        return types.SubjectAdapter(subject_tag=tag, count=self.samples, code_sum=code_sum.tolist(), kind=self.kind)

    def _stream(self, tag: str) -> np.random.Generator:
        seed = hmac.digest(bytes.fromhex(self.key), f"canary/{tag}".encode(), hashlib.sha256)
        return np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "big")))

    def _codes(self, stream: np.random.Generator) -> npt.NDArray[np.int64]:
        return stream.integers(-self.amplitude, self.amplitude + 1, self.features)
