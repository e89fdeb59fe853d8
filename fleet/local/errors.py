"""Errors of a fleet on this machine.

::

    LocalFleetError
    ├── TimedOutError         something awaited did not come true in time
    │   └── StartTimedOutError    a process did not get ready in time
    ├── ProcessEndedError     a process ended instead of getting ready
    ├── AlreadyRunningError   ConflictError: this folder's fleet runs
    ├── NotRunningError       NotFoundError: this folder has no fleet that runs
    ├── ProgrammedOtherwiseError  ConflictError: this folder's chips are for another task or preset
    ├── NodeRefusedError      node and coordinator do not go together
    └── EngineCallError       a node's engine refused a call
"""

from __future__ import annotations

from fleet.errors import ConflictError, FleetError, NotFoundError


class LocalFleetError(FleetError):
    """A fleet on this machine cannot do what was asked."""


class TimedOutError(LocalFleetError):
    """Something awaited did not come true in time."""


class StartTimedOutError(TimedOutError):
    """A process did not get ready in time."""


class ProcessEndedError(LocalFleetError):
    """A process ended instead of getting ready."""


class AlreadyRunningError(LocalFleetError, ConflictError):
    """A fleet runs in this folder already."""


class NotRunningError(LocalFleetError, NotFoundError):
    """No fleet runs in this folder."""


class ProgrammedOtherwiseError(LocalFleetError, ConflictError):
    """The chips in this folder were programmed for another task, technology or seed."""


class NodeRefusedError(LocalFleetError):
    """A node and the coordinator do not go together; waiting does not help."""


class EngineCallError(LocalFleetError):
    """A node's engine refused a call."""
