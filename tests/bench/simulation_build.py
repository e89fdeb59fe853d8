"""`python -m tests.bench.simulation_build NODES`: what it takes to make the engine of a fleet with faces.

Each fleet is a process of its own, since a process never gives its peak memory back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch

from edge_node.backbones.filters import FilterBank, patch_codes
from edge_node.recognition.engine import CHUNK, Engine
from edge_node.tasks.faces import FACES
from hwmodel import EnergyLedger, Phase, load_preset
from tests.bench.face_backbones import PRESET, filter_bank
from tests.bench.figure import Figure, Target
from tests.bench.fleet_memory import LIMIT_S, peak_bytes
from tests.bench.side_by_side import Pair, side_by_side

FLEETS = (100, 1000)
#: Photos that a chip is shown beside the float model.
PHOTOS = 64
#: Nodes that are asked to capture a person's photos, each for itself.
ASKED = 20


@dataclass(frozen=True)
class BuiltEngine:
    """Making the engine of one fleet and capturing a person's photos on nodes of it one by one.

    Seconds are of the process's own CPU time, which other work on the machine changes less.
    """

    build_s: float
    capture_s: float
    #: Of the whole process, libraries and photos included.
    peak_bytes: int


def build_figures() -> Iterator[Figure]:
    """Yield the time and memory of making engines, and of the filter bank beside the float model."""
    built = {nodes: _measured(nodes) for nodes in FLEETS}
    for nodes, run in built.items():
        target = Target("<=", 0.04) if nodes == max(FLEETS) else None
        yield Figure(f"engine of {nodes} nodes: CPU time per node", (run.build_s / nodes,), "s", target)
        yield Figure(f"engine of {nodes} nodes: peak memory", (float(run.peak_bytes),), "B")
        yield Figure(f"ten photos on one of {nodes} nodes, its chip regenerated", (run.capture_s / ASKED,), "s")
    fewer, more = (built[nodes] for nodes in FLEETS)
    grown = (more.peak_bytes - fewer.peak_bytes) / (FLEETS[1] - FLEETS[0])
    # Public codes are 200 kB, what whitens with them 80 kB.
    yield Figure("memory of one more node", (grown,), "B", Target("<=", 400e3))
    yield from _filter_figures()


def _filter_figures() -> Iterator[Figure]:
    model, photo = filter_bank()
    photos = photo.expand(PHOTOS, *photo.shape[1:])
    pixels = (photos[:, 0].double() * 255).round().long()
    samples = [np.ascontiguousarray(one) for one in photos[:, 0].numpy()]
    for nodes in (1, CHUNK):
        ledger = EnergyLedger(nodes)
        names = [f"n{node}" for node in range(nodes)]
        bank = FilterBank.program(load_preset(PRESET), 1, names, ledger)
        codes = patch_codes(pixels, bank.layout.stride).flatten(0, 1).expand(nodes, -1, -1)

        def multiply(bank: FilterBank = bank, codes: torch.Tensor = codes, ledger: EnergyLedger = ledger) -> None:
            for _ in bank.filters.mvm_blocks(codes, vectors=bank.layout.positions**2, ledger=ledger):
                pass

        works = {
            f"filters on {nodes} chips": (multiply, Target("<=", 8.0)),
            f"photo to feature codes on {nodes} chips": (
                partial(bank.capture, samples, ledger, Phase.INFER),
                Target("<=", 8.0) if nodes == CHUNK else None,
            ),
        }
        for name, (work, target) in works.items():
            timing = side_by_side(Pair(name, work, "the float model", partial(model, photos)))
            ratios = tuple(ratio / nodes for ratio in timing.ratios)
            yield Figure(f"{name}, per chip over the float model", ratios, "1", target)


def _measured(nodes: int) -> BuiltEngine:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.simulation_build", str(nodes)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    return BuiltEngine(**json.loads(done.stdout))


def main(arguments: list[str]) -> None:
    """Make one engine and print what it took as JSON."""
    nodes = int(arguments[0])
    torch.set_num_threads(1)
    preset, person = load_preset(PRESET), FACES.load_people()[FACES.split.enrolled[0]]
    # Tables, and the photos, are there at the first.
    Engine.build(FACES, preset, 2, ["first"])
    started = time.process_time()
    engine = Engine.build(FACES, preset, 1, [f"n{node}" for node in range(nodes)])
    built = time.process_time()
    for node in range(ASKED):
        engine.capture([*person.train, *person.test], nodes=[node * (nodes // ASKED)])
    run = BuiltEngine(built - started, time.process_time() - built, peak_bytes())
    sys.stdout.write(json.dumps(asdict(run)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
