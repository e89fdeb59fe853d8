"""An engine of N nodes as one batch beside N engines of one node."""

from __future__ import annotations

from collections.abc import Iterator

from reram_fleet.v1.types_pb2 import SubjectAdapter

from edge_node.recognition.engine import Engine
from edge_node.tasks.speakers import SPEAKERS
from hwmodel import load_preset
from tests.bench.side_by_side import Pair

NODES = 8
SAMPLES = 32


def engine_pairs() -> Iterator[Pair]:
    """Yield capture and identification."""
    task, preset = SPEAKERS, load_preset("180nm-1t1r")
    names = [f"node-{k}" for k in range(NODES)]
    batch = Engine.build(task, preset, 1, names)
    singles = [Engine.build(task, preset, 1, [name]) for name in names]
    person = task.load_people()[task.split.enrolled[0]]
    samples = list(person.test[:SAMPLES])
    codes = batch.capture(samples)
    adapter = SubjectAdapter(subject_tag=f"{1:032x}", count=SAMPLES, code_sum=codes[0].long().sum(dim=0).tolist())
    for node, single in enumerate(singles):
        batch.set_subject(node, adapter)
        single.set_subject(0, adapter)
    yield Pair(
        f"capture of {SAMPLES} samples, {NODES} nodes at once",
        lambda: batch.capture(samples),
        f"{NODES} engines of one node",
        lambda: [single.capture(samples) for single in singles],
    )
    yield Pair(
        f"identification of {SAMPLES} samples, {NODES} nodes at once",
        lambda: batch.identify(codes),
        f"{NODES} engines of one node",
        lambda: [single.identify(codes[node : node + 1]) for node, single in enumerate(singles)],
    )
