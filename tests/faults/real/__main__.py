"""`python -m tests.faults.real --seed N [--runs N]`: hurt a fleet of real processes, and check that its promises hold.

Seeds of one dozen, and a fleet for each: which store it has, and whether it learns, follows from the seed. What breaks
a promise is printed in order; exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.real.plans import Means, planned
from tests.faults.real.runs import Run, hurting

#: So many consecutive seeds hurt one fleet in turn.
ONE_FLEET = 10


def means_of(seed: int) -> Means:
    """Return the fleet that a seed hurts: every second one has PostgreSQL, and every fourth a learning plane."""
    number = (seed - 1) // ONE_FLEET
    return Means(database=number % 2 == 1, learning=number % 4 in (1, 2) and number % 3 != 0)


def runs(seeds: Sequence[int], *, brief: bool = False) -> Iterator[Run]:
    """Yield what comes of each seed."""
    for _, some in groupby(seeds, lambda seed: (seed - 1) // ONE_FLEET):
        mine = list(some)
        means = means_of(mine[0])
        with tempfile.TemporaryDirectory(prefix="hurt-") as folder, hurting(Path(folder) / "fleet", means) as fleet:
            for seed in mine:
                yield fleet.run(planned(seed, means, brief=brief))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print what broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.real", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--runs", type=int, default=1, help="how many consecutive seeds")
    parser.add_argument("--brief", action="store_true", help="fewer and shorter faults")
    parser.add_argument("--verbose", action="store_true", help="print every run, also one that breaks nothing")
    options = parser.parse_args(arguments)
    broken = 0
    for run in runs(range(options.seed, options.seed + options.runs), brief=options.brief):
        seed = run.plan.seed
        said = {"seed": seed, "faults": len(run.plan.faults), "violations": len(run.violations), "wall_s": run.wall_s}
        print(json.dumps(said), flush=True)
        if run.violations or options.verbose:
            print("\n".join(run.lines()), flush=True)
        if run.violations:
            broken += 1
            print(f"again: python -m tests.faults.real --seed {seed}{' --brief' * options.brief}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
