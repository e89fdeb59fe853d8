"""Running a workload from the command line: one JSON line per seed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch


def print_runs(measure: Callable[[int], Any], seeds: Sequence[int], arguments: Sequence[str] | None = None) -> int:
    """Print `measure(seed)`, a dataclass of plain numbers, as a JSON line for each of the first N seeds."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--seeds", type=int, default=len(seeds), metavar="N", help=f"how many of {list(seeds)}")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in list(seeds)[: options.seeds]:
        sys.stdout.write(json.dumps({"seed": seed} | asdict(measure(seed))) + "\n")
        sys.stdout.flush()
    return 0
