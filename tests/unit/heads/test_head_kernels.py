"""Heads under other kernels of linear algebra and numbers of threads: the same bits."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from fleet.heads.solve import solve_rounded
from tests.unit.heads.crowd import TAGS, Crowd, problem

#: Kernels of OpenBLAS for old and new processors; one that this processor cannot run falls back by itself.
KERNELS = [("Prescott", 1), ("Nehalem", 1), ("Haswell", 1), ("Haswell", 2), ("SkylakeX", 1)]
RIDGE = 2_000_000


def certified():
    return hashlib.sha256(solve_rounded(*problem(), RIDGE, 36).tobytes()).hexdigest()


def raw():
    gram, targets = problem()
    solution = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), targets.astype(float))
    return hashlib.sha256(solution.tobytes()).hexdigest()


def head_digest():
    return Crowd().enrolled([tag for tag in TAGS if tag != "cyd"]).build().digest()


@pytest.fixture(scope="module")
def answers():
    """Solution, LAPACK's own, and a head with its threshold, of a process for each kernel."""
    script = (
        "from tests.unit.heads.test_head_kernels import certified, head_digest, raw; "
        "print(certified(), raw(), head_digest())"
    )
    outputs = []
    for kernel, threads in KERNELS:
        variables = {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        ran = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | variables, capture_output=True, text=True, check=True
        )
        outputs.append(ran.stdout.split())
    return tuple(zip(*outputs, strict=True))


def test_one_solution_over_blas_kernels_and_thread_counts(answers):
    solved, by_itself, _ = answers

    assert set(solved) == {certified()}
    # The kernels do differ: what LAPACK says by itself is not the same in all of them.
    assert len(set(by_itself)) > 1


def test_one_digest_of_head_and_threshold_over_kernels_and_threads(answers):
    assert set(answers[2]) == {head_digest()}
