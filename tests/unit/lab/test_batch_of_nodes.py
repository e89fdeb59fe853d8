"""A batch of nodes against single nodes: what is compared, and that a difference would be seen."""

from __future__ import annotations

import pytest
import torch

from hwmodel import Crossbar, EnergyLedger, Fidelity, Phase, keyed_normal, load_preset
from tests.bench.learning_batch import figures_of
from tests.bench.workloads.batch_of_nodes import LevelCrossbar, at_level, compared, run

TILE = Fidelity.TILE_ACCURATE


@pytest.fixture(scope="module")
def measured():
    return run(3, nodes=2)


def test_two_nodes_compute_what_each_computes_alone(measured):
    assert [line.what for line in measured if not line.holds] == []


def test_every_backbone_is_compared_at_every_level_and_everything_behind_it(measured):
    levels = {}
    for line in measured:
        levels.setdefault(line.what, set()).add(line.fidelity)

    everywhere = {what for what, found in levels.items() if found == set(Fidelity)}
    assert everywhere == {
        "codes of the reservoir",
        "codes of the filters",
        "codes of the layer of 64 columns",
        "codes of the spectral filters",
        "codes of the liquid",
        "products of the transformer's layers",
        "colour levels that the transformer generates",
    }
    assert set(levels) - everywhere == {
        "captured codes of engines",
        "scores of subject adapters",
        "names by subject adapters",
        "scores of the head",
        "LoRA after a round of training",
        "LoRA after a round of repair",
        "LoRA of a stage after a round of training",
        "LoRA of a stage after a round of repair",
    }


def test_tile_accurate_integers_have_no_tolerance(measured):
    floats = {line.what for line in measured if line.fidelity == TILE and not line.exact}

    assert floats == {"colour levels that the transformer generates", "scores of subject adapters"}


def test_one_flipped_integer_is_counted_and_fails():
    together = torch.arange(12).reshape(3, 4)
    alone = together.clone()
    alone[1, 2] += 1

    line = compared("codes", TILE, together, alone)

    assert (line.differing, line.holds) == (1, False)
    (figure,) = figures_of([[line]])
    assert figure.target is not None
    assert not figure.target.holds(figure.values)


@pytest.mark.parametrize(("off", "holds"), [(1e-6, True), (1e-2, False)])
def test_a_float_is_held_against_the_largest_number(off, holds):
    together = torch.tensor([[1.0, -4.0]], dtype=torch.float64)

    line = compared("scores", TILE, together, together + 4 * off, tolerance=1e-3)

    assert line.largest == pytest.approx(off, rel=1e-2)
    assert line.holds is holds


def test_a_level_answers_in_the_codes_of_the_tiles_and_is_another_level():
    weights = keyed_normal(1, "weights", count=20 * 300).reshape(20, 300)
    ledger = EnergyLedger(2)
    tiles = Crossbar.program(
        weights, load_preset("180nm-1t1r"), fleet_seed=1, nodes=("a", "b"), layer="x", ledger=ledger
    )
    codes = (keyed_normal(1, "codes", count=2 * 5 * 300) * 30).clamp(-127, 127).reshape(2, 5, 300).int()
    exact = tiles.mvm_ideal(codes) / tiles.scale

    answers = {level: LevelCrossbar(tiles, level).mvm(codes, ledger=ledger) for level in Fidelity}

    assert torch.equal(answers[TILE], tiles.mvm(codes))
    assert torch.equal(answers[Fidelity.IDEAL], exact.round().int())
    for level, answer in answers.items():
        assert answer.dtype == torch.int32
        assert float((answer - exact).norm() / exact.norm()) < 0.5
        assert level is TILE or not torch.equal(answer, answers[TILE])


def test_a_backbone_at_another_level_sees_the_same_samples_differently():
    from edge_node.tasks.speakers import SPEAKERS

    ledger = EnergyLedger(1)
    chips = SPEAKERS.program(load_preset("180nm-1t1r"), 3, ["a"], ledger)
    samples = SPEAKERS.load_people()["s01"].test[:2]

    codes = [
        at_level(chips, level).capture(samples, ledger, Phase.INFER).double() for level in (TILE, Fidelity.BIT_SERIAL)
    ]

    assert not torch.equal(*codes)
    assert float((codes[0] - codes[1]).norm() / codes[0].norm()) < 0.2
