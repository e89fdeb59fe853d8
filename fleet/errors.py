"""Errors of `fleet`, as one tree.

::

    FleetError                     hint: what to do about it
    ├── InvalidInputError          refused before anything was changed
    ├── NotFoundError              no such node, campaign, job, revision, key
    │   └── UnknownTagsError           subject tags that no node has ever reported
    ├── ConflictError              legal in itself, not in this state
    │   ├── IllegalTransitionError     a state machine has no such step
    │   ├── VersionConflictError       somebody else changed the row in between
    │   ├── AwaitedNodesError          nodes have yet to say what was lost with a restore
    │   ├── SupersededError            another coordinator leads the fleet now
    │   ├── StaleAttemptError          a learning attempt that is not the current one
    │   ├── StaleContributionError     a newer contribution of that node and tag is here
    │   └── SubjectForgottenError      the subject tag carries a tombstone
    ├── StoreError                 the database cannot be opened or migrated
    ├── KeyFileError               a key file is malformed, or readable by others
    │   └── KeyMissingError            it was destroyed, or never made (a NotFoundError too)
    └── TrustError
        ├── ProofError             a Merkle proof does not prove what it should
        └── CertificateError       a certificate cannot be read at all

Packages with failures of their own (client, settings, learning plane) derive theirs from `FleetError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from reram_fleet.errors import ConflictError as ConflictError
from reram_fleet.errors import FleetError as FleetError
from reram_fleet.errors import InvalidInputError as InvalidInputError
from reram_fleet.errors import KeyFileError as KeyFileError
from reram_fleet.errors import KeyMissingError as KeyMissingError
from reram_fleet.errors import NotFoundError as NotFoundError


def reason_of(error: Exception) -> str:
    """Return what is wrong with a file, in words: a missing key is not the text of a `KeyError`."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, TypeError | AttributeError):
        # Their text is about our code.
        return "something in it is of another kind than expected"
    return str(error) or "it is malformed"


class UnknownTagsError(NotFoundError):
    """No node has ever reported some of the subject tags: `tags`."""

    #: Trailing gRPC metadata that carries them, once per tag.
    METADATA_KEY = "unknown-tag"

    def __init__(self, message: str = "", *, tags: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tags = tuple(tags)


class IllegalTransitionError(ConflictError):
    """A state machine has no such step."""


class VersionConflictError(ConflictError):
    """The row was changed by somebody else since it was read; read again and retry."""


class AwaitedNodesError(ConflictError):
    """The coordinator was restored from a backup, and some nodes have yet to say what was lost with that."""

    _NAMED = 5

    def __init__(self, node_ids: Sequence[str]) -> None:
        named = ", ".join(node_ids[: self._NAMED]) + (", ..." if len(node_ids) > self._NAMED else "")
        super().__init__(
            f"the coordinator was restored from a backup, and waits for nodes that have not reconnected since: {named}",
            hint=f"start {named}; `fleet node retire NODE --reason ...` takes out what is gone, "
            "`fleet admin accept-restore --reason ...` goes on without the others",
        )


class SupersededError(ConflictError):
    """Another coordinator leads the fleet now: whoever led before must not write."""


class StaleAttemptError(ConflictError):
    """A learning attempt that is not the current one must not report."""


class StaleContributionError(ConflictError):
    """A contribution with a higher sequence, or another one with the same, is already stored."""


class SubjectForgottenError(ConflictError):
    """The tag carries a tombstone. A new consent is a new tag."""


class StoreError(FleetError):
    """The database cannot be opened, or its schema cannot be brought up to date."""


class TrustError(FleetError):
    """Receipts, proofs, certificates."""


class ProofError(TrustError):
    """A Merkle proof does not prove what it should."""


class CertificateError(TrustError):
    """A certificate cannot be read at all (one that reads, but does not hold, gives failed lines instead)."""
