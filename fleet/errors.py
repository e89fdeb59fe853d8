"""Everything that `fleet` raises on purpose.

::

    FleetError                     hint: what to do about it
    ├── InvalidInputError          refused before anything was changed
    ├── NotFoundError              no such node, campaign, job, revision, key
    ├── ConflictError              legal in itself, not in this state
    │   ├── IllegalTransitionError     a state machine has no such step
    │   ├── VersionConflictError       somebody else changed the row in between
    │   ├── StaleAttemptError          a learning attempt that is not the current one
    │   ├── StaleContributionError     a newer contribution of that node and tag is here
    │   └── SubjectForgottenError      the subject tag carries a tombstone
    ├── StoreError                 the database cannot be opened or migrated
    └── TrustError
        ├── KeyFileError           a key file is malformed, or readable by others
        ├── ProofError             a Merkle proof does not prove what it should
        └── CertificateError       a certificate cannot be read at all

Packages with failures of their own (client, settings, learning plane) derive theirs from `FleetError`.
"""

from __future__ import annotations


class FleetError(Exception):
    """Base of all expected failures.

    Parameters
    ----------
    message
        What happened, and with what.
    hint
        What to do about it; the CLI prints it below the message.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidInputError(FleetError):
    """An argument is malformed; nothing was changed."""


class NotFoundError(FleetError):
    """What was named does not exist."""


class ConflictError(FleetError):
    """The request contradicts what is already there."""


class IllegalTransitionError(ConflictError):
    """A state machine has no such step."""


class VersionConflictError(ConflictError):
    """The row was changed by somebody else since it was read; read again and retry."""


class StaleAttemptError(ConflictError):
    """A learning attempt that is not the current one must not report."""


class StaleContributionError(ConflictError):
    """A contribution with a higher sequence, or another one with the same, is already stored."""


class SubjectForgottenError(ConflictError):
    """The tag carries a tombstone. A new consent is a new tag."""


class StoreError(FleetError):
    """The database cannot be opened, or its schema cannot be brought up to date."""


class TrustError(FleetError):
    """Keys, receipts, proofs, certificates."""


class KeyFileError(TrustError):
    """A key file is malformed, or readable by others."""


class ProofError(TrustError):
    """A Merkle proof does not prove what it should."""


class CertificateError(TrustError):
    """A certificate cannot be read at all (one that reads, but does not hold, gives failed lines instead)."""
