"""Plants a bug of `tests.faults.mutants` in a coordinator or node that starts, if the environment names one."""

from __future__ import annotations

import os
import sys

if (_name := os.environ.get("RERAM_FLEET_MUTANT")) and {"serve", "run"} & {*sys.orig_argv}:
    from tests.faults.mutants import MUTANTS

    # For as long as the process lives.
    _planted = next(mutant for mutant in MUTANTS if mutant.name == _name).planted()
    _planted.__enter__()
