"""Components that tests want: a test without one is skipped, but in CI it fails."""

from __future__ import annotations

import os

import pytest

#: Whether tests that want root are left out.
WITHOUT_ROOT = os.geteuid() != 0 and "CI" not in os.environ


def lacking(reason: str) -> None:
    """End the test for want of something that can be had: fail it in CI, skip it elsewhere."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
