"""The error tree of `fleet.heads`.

HeadError
├── StatisticsError    integers that cannot be added or held exactly
└── NotCertifiedError  a solution whose rounding could not be proved
"""

from __future__ import annotations


class HeadError(Exception):
    """Base of every error that `fleet.heads` raises on purpose."""


class StatisticsError(HeadError, ValueError):
    """Statistics that do not fit together, or would overflow."""


class NotCertifiedError(HeadError):
    """Refinement did not bring every entry provably to one side of its rounding boundary."""
