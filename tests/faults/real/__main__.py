"""`python -m tests.faults.real --seed N [--runs N]`: hurt a fleet of real processes, and check that its promises hold.

Ten consecutive seeds hurt one fleet in turn: which store it has, and whether it learns, follows from the seed. What
breaks a promise is printed in order; exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.faults.real.runs import runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print what broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.real", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--runs", type=int, default=1, help="how many consecutive seeds")
    parser.add_argument("--brief", action="store_true", help="fewer and shorter faults")
    parser.add_argument("--verbose", action="store_true", help="print every run, also one that breaks nothing")
    parser.add_argument("--mutant", default="", help="with a planted bug, by its name")
    options = parser.parse_args(arguments)
    broken = 0
    for run in runs(range(options.seed, options.seed + options.runs), brief=options.brief, mutant=options.mutant):
        said = {"seed": run.plan.seed, "faults": len(run.plan.faults), "forgets": run.forgets, "looks": run.looks}
        said |= {"violations": len(run.violations), "stand_ins": run.stand_ins, "wall_s": run.wall_s}
        _say(json.dumps(said))
        if run.violations or options.verbose:
            _say("\n".join(run.lines()))
        if run.violations:
            broken += 1
            _say(f"again: python -m tests.faults.real --seed {run.plan.seed}{' --brief' * options.brief}")
    return 1 if broken else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
