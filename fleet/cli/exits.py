"""Exit codes, and which error gives which."""

from __future__ import annotations

from enum import IntEnum

from fleet.config import ConfigError, NoCoordinatorError
from fleet.errors import ConflictError, FleetError, InvalidInputError, NotFoundError
from fleet.local.errors import TimedOutError


class ExitCode(IntEnum):
    """Exit codes that a script may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    PERMISSION = 5
    UNAVAILABLE = 6
    TIMED_OUT = 7
    PARTIAL = 8
    INTERRUPTED = 130


class UsageError(InvalidInputError):
    """The command line asks for something that cannot be done."""


class PartialError(FleetError):
    """Some nodes did what was asked, others cannot without an operator."""


def exit_code(error: FleetError) -> ExitCode:
    """Return the exit code of an expected error."""
    # Imported here: a CLI that succeeds has no need of it.
    from fleet.client import PermissionDeniedError, UnavailableError

    for kind, code in (
        (TimedOutError, ExitCode.TIMED_OUT),
        (PartialError, ExitCode.PARTIAL),
        (PermissionDeniedError, ExitCode.PERMISSION),
        (UnavailableError, ExitCode.UNAVAILABLE),
        (NoCoordinatorError, ExitCode.UNAVAILABLE),
        (ConfigError, ExitCode.USAGE),
        (InvalidInputError, ExitCode.USAGE),
        (NotFoundError, ExitCode.NOT_FOUND),
        (ConflictError, ExitCode.CONFLICT),
    ):
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED
