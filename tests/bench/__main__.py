"""`python -m tests.bench`: what a thing costs in time beside another that does the same work.

Both sides of a row run in turns in this process, on one thread, so that a slow machine slows both. Nothing is
asserted: read the ratio, not the milliseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter
from rich.console import Console
from rich.table import Table

from edge_node.engine import Engine
from edge_node.tasks import load_task
from hwmodel import Crossbar, load_preset

REPEATS = 9
NODES = 8
CLIPS = 32
#: (batch, inputs, outputs) of a crossbar layer.
SHAPES = ((1, 512, 512), (64, 512, 512), (64, 1024, 256))


@dataclass(frozen=True)
class Pair:
    """The same work done in two ways, each a call that does all of it once."""

    name: str
    ours: Callable[[], object]
    beside: str
    theirs: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Medians in seconds, and the median of the ratios taken turn by turn."""

    ours_s: float
    theirs_s: float
    ratio: float


def side_by_side(pair: Pair) -> Timing:
    """Run both in turns, the first turn unmeasured."""
    pair.ours()
    pair.theirs()
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(_seconds(pair.ours))
        theirs.append(_seconds(pair.theirs))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Timing(statistics.median(ours), statistics.median(theirs), statistics.median(ratios))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def crossbar_pairs() -> Iterator[Pair]:
    """Yield a tile-accurate crossbar beside a dense float32 layer of the same shape."""
    preset = load_preset("180nm-1t1r")
    generator = torch.Generator().manual_seed(1)
    for batch, inputs, outputs in SHAPES:
        weights = torch.randn(outputs, inputs, generator=generator)
        crossbar = Crossbar.program(weights, preset, fleet_seed=1, nodes=["node-1"], layer="bench")
        codes = torch.randint(-127, 128, (1, batch, inputs), generator=generator, dtype=torch.int32)
        linear = torch.nn.Linear(inputs, outputs, bias=False).requires_grad_(requires_grad=False)
        dense = codes[0].to(torch.float32)
        yield Pair(
            f"crossbar {inputs}x{outputs}, batch {batch}",
            lambda crossbar=crossbar, codes=codes: crossbar.mvm(codes),
            "torch.nn.Linear",
            lambda linear=linear, dense=dense: linear(dense),
        )


def engine_pairs() -> Iterator[Pair]:
    """Yield an engine of N nodes as one batch beside N engines of one node."""
    task, preset = load_task("speakers"), load_preset("180nm-1t1r")
    names = [f"node-{k}" for k in range(NODES)]
    batch = Engine.build(task, preset, 1, names)
    singles = [Engine.build(task, preset, 1, [name]) for name in names]
    person = task.load_people()[task.split.enrolled[0]]
    clips = list(person.test[:CLIPS])
    codes = batch.capture(clips)
    adapter = SubjectAdapter(
        subject_tag=f"{1:032x}", count=CLIPS, code_sum=codes[0].long().sum(dim=0).tolist()
    )
    for node, single in enumerate(singles):
        batch.set_subject(node, adapter)
        single.set_subject(0, adapter)
    yield Pair(
        f"capture of {CLIPS} clips, {NODES} nodes at once",
        lambda: batch.capture(clips),
        f"{NODES} engines of one node",
        lambda: [single.capture(clips) for single in singles],
    )
    yield Pair(
        f"identification of {CLIPS} clips, {NODES} nodes at once",
        lambda: batch.identify(codes),
        f"{NODES} engines of one node",
        lambda: [single.identify(codes[node : node + 1]) for node, single in enumerate(singles)],
    )


def main() -> None:
    """Measure every pair and print the table."""
    torch.set_num_threads(1)
    table = Table("work", "ms", "beside", "ms", "ratio", title=f"Side by side, one thread, {REPEATS} turns")
    for pairs in (crossbar_pairs, engine_pairs):
        for pair in pairs():
            timing = side_by_side(pair)
            table.add_row(
                pair.name,
                f"{1e3 * timing.ours_s:.3g}",
                pair.beside,
                f"{1e3 * timing.theirs_s:.3g}",
                f"{timing.ratio:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
