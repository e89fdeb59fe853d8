"""Checkpoints of an engine that nodes share: it goes on as if it had not been written."""

import gc

import pytest
import torch
from reram_fleet.v1.types_pb2 import SubjectAdapter

from edge_node.recognition.engine import Engine
from fleet.sim.checkpoint import restored, saved
from hwmodel import load_preset
from tests.example_task.made_up_patterns import PATTERNS

NODES = ["n0", "n1", "n2"]


@pytest.mark.parametrize("chunk", [1, 50])
def test_an_engine_goes_on_from_a_checkpoint_with_the_same_integers_and_costs(chunk):
    # Reads differ by their number.
    preset = load_preset("180nm-1t1r").with_values({"cell.read_noise_us": 0.4})
    engine = Engine.build(PATTERNS, preset, 5, NODES, chunk=chunk)
    shown = next(iter(PATTERNS.load_people().values())).test[:2]
    codes = engine.capture(shown, nodes=[1])
    for node in range(3):
        engine.set_subject(node, SubjectAdapter(subject_tag="a", count=2, code_sum=codes[0].sum(dim=0).tolist()))
    figures = engine.chip_figures(1)

    again = restored(saved(engine))

    assert isinstance(again, Engine)
    assert again.chip_figures(1) == figures == again.chip_figures(2)
    found, expected = (e.capture(shown, nodes=[2, 1]) for e in (again, engine))
    assert torch.equal(found, expected)
    assert again.identify(found, nodes=[2, 1]).best_tag == engine.identify(expected, nodes=[2, 1]).best_tag
    for node in range(3):
        assert again.ledger.totals(node) == engine.ledger.totals(node)
    # Still one object, and none when the last node has dropped it.
    assert len(again._pool) == 1
    for node in range(3):
        again.drop_subjects(node, ["a"])
    gc.collect()
    assert len(again._pool) == 0
