"""The example of docs/vector-grid.md, run as it is."""

from __future__ import annotations

import runpy

from tests.house import ROOT


def test_the_batched_pytorch_model_learns() -> None:
    example = runpy.run_path(str(ROOT / "docs" / "examples" / "batched_clients.py"))
    before = example["main"](nodes=60, rounds=0)
    after = example["main"](nodes=60, rounds=3)
    assert before < 0.3
    assert after > 0.8
