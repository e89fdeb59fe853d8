"""Closed-form head on a node: one rank-1 column per person, scored in exact integers.

The coordinator solves for the columns (`fleet.heads`); a node multiplies, compares with the threshold that
came with them, and drops a person's column at once when told to forget. The other columns were solved with
that person among the negatives, so they still depend on them until the next revision replaces the head: they
cannot name the person, but their bytes are not yet those of a fleet that never knew them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from reram_fleet.crypto.digests import head_digest
from reram_fleet.v1.types_pb2 import ClosedFormHead
from torch import Tensor

from edge_node.errors import AdapterError

#: Codes that a head takes: those of every backbone are within. With this, a column whose magnitudes add up
#: to at most 2^37 has ``|x w| <= sum |x| |w| < 2^53``: every product and every partial sum is an integer
#: that float64 holds, so scores are exact in any order of summation, on any kernel and for any batch.
MAX_CODE = (1 << 16) - 1
MAX_COLUMN_NORM = 1 << 37

BYTES_PER_CODE = 4
_MAX_SCALE_BITS = 36


@dataclass(frozen=True, eq=False)
class HeadAdapter:
    """Head as it lies in SRAM; made by `load`.

    Attributes
    ----------
    tags
        One per column, sorted: so nothing says who came when.
    codes
        int32 [features, K].
    scale_bits
        ``2^scale_bits`` is the score that training aimed at for the right person.
    threshold
        Integer score from which a sample is accepted.
    """

    tags: tuple[str, ...]
    codes: Tensor
    scale_bits: int
    threshold: int

    @classmethod
    def load(
        cls, tags: Collection[str], codes: np.ndarray, scale_bits: int, threshold: int, *, features: int
    ) -> HeadAdapter:
        """Check a head from outside and take it.

        `AdapterError` if it does not fit the backbone, its tags are empty, unsorted or double, its scale or threshold
        is out of range, or a column is so large that scores would not be exact.
        """
        names = tuple(tags)
        if list(names) != sorted(set(names)) or "" in names:
            raise AdapterError("the tags of a head are sorted, each once and none empty")
        if codes.dtype != np.int32 or codes.shape != (features, len(names)):
            raise AdapterError(
                f"a head for {len(names)} people is int32 [{features}, {len(names)}]; got {codes.dtype} "
                f"{list(codes.shape)}: it comes from another task or backbone"
            )
        if not 1 <= scale_bits <= _MAX_SCALE_BITS or not 1 <= threshold < 1 << 53:
            raise AdapterError(
                f"a head's scale is 1 to {_MAX_SCALE_BITS} bits and its threshold 1 to 2^53; "
                f"got {scale_bits}, {threshold}"
            )
        largest = int(np.abs(codes.astype(np.int64)).sum(axis=0).max(initial=0))
        if largest > MAX_COLUMN_NORM:
            raise AdapterError(
                f"a column's magnitudes add up to {largest}, beyond {MAX_COLUMN_NORM}: scores would not be "
                "exact; solve with fewer scale bits"
            )
        return cls(names, torch.from_numpy(codes.copy()), scale_bits, threshold)

    @classmethod
    def of_message(cls, message: ClosedFormHead, *, features: int) -> HeadAdapter:
        """Take a head as it travels in a revision.

        `AdapterError` as `load`, or if its bytes are not as many as it says.
        """
        people = len(message.subject_tags)
        if message.features != features or len(message.codes) != BYTES_PER_CODE * features * people:
            raise AdapterError(
                f"the head has {message.features} features and {len(message.codes)} bytes of codes for "
                f"{people} people; this engine has {features} features"
            )
        codes = np.frombuffer(message.codes, "<i4").reshape(features, people).astype(np.int32)
        return cls.load(message.subject_tags, codes, message.scale_bits, message.threshold, features=features)

    def to_message(self) -> ClosedFormHead:
        """Return it as it travels."""
        return ClosedFormHead(
            subject_tags=self.tags,
            features=len(self.codes),
            codes=self.codes.contiguous().numpy().astype("<i4", copy=False).tobytes(),
            scale_bits=self.scale_bits,
            threshold=self.threshold,
        )

    def without(self, tags: Collection[str]) -> HeadAdapter:
        """Return the head without these people's columns; tags that it does not have are no error."""
        gone = set(tags)
        kept = [column for column, tag in enumerate(self.tags) if tag not in gone]
        # Indexing a small tensor takes more than twice as long.
        codes = torch.from_numpy(np.take(self.codes.numpy(), kept, axis=1))
        return replace(self, tags=tuple(self.tags[column] for column in kept), codes=codes)

    def scores(self, codes: Tensor) -> Tensor:
        """Return ``x W``, int64 [N, B, K], exactly, of integer codes [N, B, features] as `Engine.capture` returns them.

        `AdapterError` if the codes have another shape, are not integers, or are beyond `MAX_CODE`.
        """
        if codes.ndim != 3 or codes.shape[2] != len(self.codes) or codes.is_floating_point():
            raise AdapterError(f"codes are integers [N, B, {len(self.codes)}]; got {codes.dtype} {list(codes.shape)}")
        if codes.numel() and int(codes.abs().max()) > MAX_CODE:
            raise AdapterError(f"a code is beyond {MAX_CODE}: scores would not be exact")
        return (codes.double() @ self.codes.double()).long()

    def margins(self, codes: Tensor, strength: Tensor) -> Tensor:
        """Return scores in units of the threshold, of samples as if all were of typical length: float64 [N, B, K].

        The scores of a sample grow with its length, whomever it shows (ADR 29).

        Parameters
        ----------
        codes
            As in `scores`.
        strength
            As `ScoreCalibration.strength` returns it, above 0: [N, B].
        """
        return self.scores(codes).double() / (self.threshold * strength[:, :, None])

    def fused(self, score: Tensor, threshold: Tensor, tags: Sequence[str], codes: Tensor, strength: Tensor) -> Tensor:
        """Return scores of subject adapters and LoRA, averaged with the head's for those who are in it.

        Each side counts in units of its own threshold, so the mean has that of the subject adapters. Measured
        against the head alone (ADR 9): as accurate, with a third to two thirds of the false accepts, since a
        sample must both lie in a person's direction and not look like anybody else. It also keeps a sample that
        resembles nothing from passing because the head amplifies directions in which people hardly vary.

        Parameters
        ----------
        score
            float64 [..., N, B, K], of `tags` in this order. A newcomer who is not in the head keeps theirs.
        threshold
            From which such a score accepts, float64 [N], above 0.
        codes, strength
            As in `margins`.
        """
        columns = {tag: column for column, tag in enumerate(self.tags)}
        known = [row for row, tag in enumerate(tags) if tag in columns]
        if not known:
            return score
        margin = self.margins(codes, strength)[:, :, [columns[tags[row]] for row in known]]
        fused = score.clone()
        fused[..., known] = (score[..., known] + threshold[:, None, None] * margin) / 2
        return fused

    @cached_property
    def digest(self) -> bytes:
        """Digest as receipts and revisions have it."""
        return head_digest(self.to_message())
