"""A scenario that takes a second, and one run of it that tests only read."""

from __future__ import annotations

import pytest

from fleet.sim import Run, run
from fleet.sim.scenario import Scenario

SMALL = """
name = "small"
title = "Three nodes"
question = "Does it run?"

[fleet]
nodes = 3
people = 3
nodes_per_person = 2

[time]
duration = "20min"
heartbeat = "60s"
sample_every = "2min"

[forgets]
at = ["301s"]
"""


@pytest.fixture(scope="session")
def small() -> Scenario:
    return Scenario.parse(SMALL)


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory) -> Run:
    """Return a run that tests leave as it is."""
    return run(small, seed=1, output=tmp_path_factory.mktemp("runs"))
