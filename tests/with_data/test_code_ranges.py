"""Codes of real people beside the ranges that a coordinator takes."""

from __future__ import annotations

import pytest
from reram_fleet.tasks import code_range

from edge_node.recognition.engine import Engine
from edge_node.tasks import load_task
from hwmodel import load_preset


@pytest.mark.parametrize("name", ["faces", "faces-64", "faces-yale-b", "fsdd", "fsdd-8"])
def test_codes_of_real_people_fit_into_the_range_of_their_task(name):
    task, codes = load_task(name), code_range(name)
    device = Engine.build(task, load_preset("180nm-1t1r"), 1, ["north"])
    assert device.features == codes.features
    samples = [sample for person in task.load_people().values() for sample in (*person.train[:5], *person.test[:5])]
    assert 0.05 * codes.code_max < float(device.capture(samples).abs().max()) < 0.9 * codes.code_max
