"""Audits of cohort shards on machines that compute with other kernels than those that trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Kernels and threads of the audits; the training has those that torch chooses, and one thread.
ELSEWHERE: tuple[Mapping[str, str], ...] = (
    {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"},
    {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
    {"MKL_CBWR": "COMPATIBLE"},
)


def run(verb: str, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.cohorts.stored_fleet", verb, str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nodes_that_are_restarted_under_other_kernels_reproduce_what_they_trained(tmp_path: Path) -> None:
    trained = run("train", tmp_path, {})
    for variables in ELSEWHERE:
        again = run("audit", tmp_path, variables)
        assert {shard: found["digest"] for shard, found in again.items()} == {
            shard: found["digest"] for shard, found in trained.items()
        }
        for found in again.values():
            audit = found["audit"]
            assert (audit["state"], audit["detail"]) == ("reproduced", "")
            assert all(line["holds"] for line in audit["lines"])
        assert again["0"]["audit"]["lines"][-1]["got"] == trained["0"]["digest"]
