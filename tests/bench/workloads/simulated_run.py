"""One simulation in a process of its own: `python -m tests.bench.workloads.simulated_run NAME CHANGES [--chunk N]`.

NAME is a scenario of the gallery, CHANGES a JSON object of its values by dotted key. The process writes one JSON object
with what it saw: seconds by phase, peak memory, digest, forgets.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from fleet.sim.chip_actors import ChipActors
from fleet.sim.gallery import load
from fleet.sim.simulation import Simulation


def main(arguments: Sequence[str]) -> None:
    """Simulate, and print what was seen."""
    parser = argparse.ArgumentParser(prog="simulated_run", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("changes", type=json.loads)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--actors", type=int, help="have so many actors of Ray compute")
    parser.add_argument("--save-at", type=int, help="go on from a checkpoint after so many steps, in this process")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    scenario = load(options.name, options.changes)
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
        actors = exits.enter_context(ChipActors(options.actors)) if options.actors else None

        def say(text: str) -> None:
            sys.stderr.write(f"{time.perf_counter() - began_s:7.1f} s  {text}\n")

        simulation = Simulation(
            scenario, options.seed, folder=Path(folder), chunk=options.chunk, progress=say, actors=actors
        )
        steps = 0
        while not simulation.done:
            simulation.advance()
            steps += 1
            if steps == options.save_at:
                simulation = Simulation.restored(simulation.saved(), actors)
        seen = {
            "seconds": time.perf_counter() - began_s,
            "phases": {row["phase"]: row["seconds"] for row in simulation.tables["phases"]},
            "digest": simulation.digest(),
            "forgets": simulation.tables["forgets"],
            "answers": simulation.tables["answers"][-1:],
            "state": simulation.tables["state"][-1],
            "rounds": len(simulation.tables["rounds"]),
            "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
