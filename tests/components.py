"""What tests want of a machine, installed or allowed: a test without it is skipped, but in CI it fails."""

from __future__ import annotations

import os

import pytest

#: Whether tests that want root are left out.
WITHOUT_ROOT = os.geteuid() != 0 and "CI" not in os.environ


def lacking(reason: str) -> None:
    """End the test for want of something: fail it in CI, skip it elsewhere."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
