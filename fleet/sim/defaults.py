"""Defaults of runs, for the command line and for Python; apart, so that neither loads what simulates."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Folder of runs, below the working directory.
RUNS = Path("runs")
#: Nodes whose arithmetic is one batch.
CHUNK = 50
#: Seconds on the wall between two checkpoints.
CHECKPOINT_EVERY_S = 20.0
#: What computes the chips: see `fleet.sim.execution.engine_of`.
ENGINE: Final = "inline"
