"""Settings of every test."""

from __future__ import annotations

import os

from hypothesis import settings
from reram_fleet.flower import ENVIRONMENT

# Shared cores: how long an example takes says nothing. The same examples everywhere, so that red is red.
settings.register_profile("reram-fleet", deadline=None, derandomize=True)
settings.load_profile("reram-fleet")

# What tests start inherits these: one thread of linear algebra, and no calls home from Flower.
os.environ.update(ENVIRONMENT)
os.environ["OMP_NUM_THREADS"] = "1"
