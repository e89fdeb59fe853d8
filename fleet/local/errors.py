"""Errors of a fleet on this machine.

::

    LocalFleetError
    ├── TimedOutError    something awaited did not come true in time
    └── EngineCallError  a node's engine refused a call
"""

from __future__ import annotations

from fleet.errors import FleetError


class LocalFleetError(FleetError):
    """A fleet on this machine cannot do what was asked."""


class TimedOutError(LocalFleetError):
    """Something awaited did not come true in time; it may still do so."""


class EngineCallError(LocalFleetError):
    """A node's engine refused a call."""
