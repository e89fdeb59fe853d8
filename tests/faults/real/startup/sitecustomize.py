"""Plants a bug of `tests.faults.mutants` in a coordinator or node that starts, if the environment names one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_program = [Path(word).name for word in sys.orig_argv[1:3]]
if (_name := os.environ.get("RERAM_FLEET_MUTANT")) and _program in (["fleet", "serve"], ["edge-node", "run"]):
    from tests.faults.mutants import MUTANTS

    # For as long as the process lives.
    _planted = next(mutant for mutant in MUTANTS if mutant.name == _name).planted()
    _planted.__enter__()
