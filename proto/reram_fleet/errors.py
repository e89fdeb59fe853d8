"""Errors that coordinator, nodes and command lines share; each package derives its own from them.

::

    FleetError                 hint: what to do about it
    ├── InvalidInputError      refused before anything was changed
    ├── NotFoundError          what was named does not exist
    ├── ConflictError          legal in itself, not in this state
    └── KeyFileError           a key file is damaged, or readable by others
        └── KeyMissingError    it was destroyed, or never made (a NotFoundError too)

Not among them: `TokenError`, `IdentityError`, `SealError`, `SignatureError`, `TicketError` and `CodeRangeError` of the
modules that check those things. They say what does not hold about some bytes; a caller, who knows whose bytes they are,
translates each into an error of this tree, a refusal or a failed line.
"""

from __future__ import annotations


class FleetError(Exception):
    """Base of all expected failures: what happened, and with what; `hint` says what to do about it."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidInputError(FleetError):
    """An argument is malformed; nothing was changed."""


class NotFoundError(FleetError):
    """Something that was named does not exist."""


class ConflictError(FleetError):
    """The request contradicts what is already there."""


class KeyFileError(FleetError):
    """A key file is damaged, or readable by others."""


class KeyMissingError(KeyFileError, NotFoundError):
    """A key file was destroyed, or never made: what is encrypted under it is gone."""
