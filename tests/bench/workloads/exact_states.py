"""Workload `exact states`: a cohort's LoRA after ten federated rounds, computed in other ways.

Nodes are unequal: each took other people's samples, and not as many. Every way starts from the very samples: chips are
programmed and read anew under the kernels that it is about.

As a program, prints a digest of everybody's captured codes and the integers of the LoRA.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from reram_fleet.wire.lora_states import StateArrays
from torch import Tensor

from edge_node.recognition.engine import Engine, RoundRequest, RoundResult
from edge_node.recognition.training import exact
from tests.bench.workloads.small_chips import SmallFleet

#: Other environments of the process, beside the one that this runs in.
KERNELS: Mapping[str, Mapping[str, str]] = {
    "two threads": {"THREADS": "2", "OMP_NUM_THREADS": "2"},
    "kernels without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2 kernels": {"ATEN_CPU_CAPABILITY": "avx2"},
    "MKL's compatible kernels": {"MKL_CBWR": "COMPATIBLE"},
}
ROUNDS = 10


@dataclass(frozen=True)
class ExactStatesRun:
    """One task at one seed: how many integers of the LoRA are others, by way of computing it."""

    integers: int
    differ: Mapping[str, int]
    #: Environments under which some captured code is another.
    other_codes: int


def run(task: str, seed: int) -> ExactStatesRun:
    """Train one LoRA in every way; raises `subprocess.CalledProcessError` if another process fails."""
    fleet = SmallFleet.of(task, seed)
    here = _integers(fleet.learn(fleet.by_node, ROUNDS))
    digest = _digest(fleet)
    backwards = {
        node: {tag: codes.flip(0) for tag, codes in reversed(own.items())}
        for node, own in reversed(fleet.by_node.items())
    }
    ways = {
        "each node alone": fleet.learn(fleet.by_node, ROUNDS, _alone),
        "nodes and samples in another order": fleet.learn(backwards, ROUNDS),
    }
    with mock.patch.object(exact, "matmul", _whole_matmul):
        ways["products of int64"] = fleet.learn(fleet.by_node, ROUNDS)
    differ = {name: _others(here, _integers(state)) for name, state in ways.items()}
    other_codes = 0
    for name, variables in KERNELS.items():
        there = json.loads(
            subprocess.run(
                [sys.executable, "-m", "tests.bench.workloads.exact_states", task, str(seed)],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
        )
        differ[name] = _others(here, there["integers"])
        other_codes += there["codes"] != digest
    return ExactStatesRun(len(here), differ, other_codes)


def _alone(engine: Engine, requests: Sequence[RoundRequest]) -> list[RoundResult]:
    return [result for request in requests for result in engine.run_rounds([request])]


def _whole_matmul(a: Tensor, b: Tensor, steps: float) -> Tensor:
    """Multiply on the grid of `exact.matmul`, in numpy's int64, which has no rounding."""
    del steps
    scaled, bits = [], 0
    for values in (a, b):
        # The coarsest grid that the values are on.
        own = next(n for n in range(40) if bool((values.double() * 2.0**n == (values.double() * 2.0**n).round()).all()))
        scaled.append((values.double() * 2.0**own).numpy().astype(np.int64))
        bits += own
    product = torch.from_numpy((scaled[0] @ scaled[1]).astype(np.float64)) * 2.0**-bits
    return product.to(a.dtype)


def _integers(state: StateArrays) -> list[int]:
    codes: list[int] = np.concatenate([state.rows.ravel(), state.branches.ravel()]).tolist()
    return codes


def _others(here: Sequence[int], there: Sequence[int]) -> int:
    return sum(a != b for a, b in zip(here, there, strict=True))


def _digest(fleet: SmallFleet) -> str:
    codes = [fleet.asked, fleet.strange, *(own for _, by in sorted(fleet.taught.items()) for own in by.values())]
    return hashlib.sha256(b"".join(part.numpy().astype("<i4").tobytes() for part in codes)).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    found = SmallFleet.of(sys.argv[1], int(sys.argv[2]))
    answer = {"codes": _digest(found), "integers": _integers(found.learn(found.by_node, ROUNDS))}
    sys.stdout.write(json.dumps(answer))
