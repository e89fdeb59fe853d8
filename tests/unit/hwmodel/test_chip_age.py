"""A chip at several ages, and what stays with it through its life."""

from dataclasses import replace

import pytest
import torch

from hwmodel import (
    Crossbar,
    DeviceError,
    DeviceModels,
    EnergyLedger,
    StuckCells,
    age_step_s,
    keyed_normal,
    keyed_uint16,
    load_preset,
    relaxation_named,
)

NEURRAM = load_preset("130nm-neurram")
DAY_S = 86_400.0


def program(weights=None, preset=NEURRAM, nodes=("a", "b"), **options):
    weights = keyed_normal(1, "weights", count=64 * 256).view(64, 256) if weights is None else weights
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=nodes, layer="layer", **options)


def test_an_aged_chip_is_the_chip_that_would_be_programmed_at_that_age():
    aged = program().at_age(DAY_S)

    assert aged.age_s == DAY_S
    assert torch.equal(aged.cells, program(age_s=DAY_S).cells)
    assert torch.equal(aged.at_age(1.0).cells, program().cells)


def test_errors_grow_with_age_by_relaxation_of_the_same_cells():
    healthy = replace(DeviceModels.of(NEURRAM), stuck_cells=StuckCells(0, 0))
    fresh = program(models=healthy)
    target = program(models=DeviceModels.ideal()).cells

    spread = [(fresh.at_age(age).cells - target).std().item() for age in (1.0, 3600.0, DAY_S)]
    first, last = ((fresh.at_age(age).cells - target).flatten() for age in (1.0, DAY_S))

    assert spread[0] < spread[1] < spread[2]
    correlation = torch.corrcoef(torch.stack([first, last]))[0, 1].item()
    # the error of the first second is part of that of the first day: independent draws would give 0
    assert correlation == pytest.approx(spread[0] / spread[2], abs=0.05)


def test_without_relaxation_a_chip_does_not_age():
    young = program(preset=load_preset("180nm-1t1r"))

    assert torch.equal(young.at_age(10 * 365 * DAY_S).cells, young.cells)


def test_an_age_that_nobody_measured_is_refused():
    with pytest.raises(DeviceError, match="WanRelaxation covers ages of 1 to 172800 s; got 1e"):
        program().at_age(1e6)


def test_ageing_costs_nothing_and_goes_on_counting_reads():
    ledger = EnergyLedger(2)
    young = program(ledger=ledger)
    spent = ledger.total()
    young.mvm(torch.zeros(2, 3, 256, dtype=torch.int32))

    aged = young.at_age(DAY_S)

    assert ledger.total() == spent
    assert aged.reads.tolist() == [3, 3]
    assert torch.equal(aged.cell_writes, young.cell_writes)
    aged.mvm(torch.zeros(2, 3, 256, dtype=torch.int32))
    assert (young.reads.tolist(), aged.reads.tolist()) == ([3, 3], [6, 6])


def test_a_stuck_cell_stays_stuck_when_the_layer_is_programmed_again():
    models = replace(DeviceModels.ideal(), stuck_cells=StuckCells(0.03, 0.03))
    target = program(models=DeviceModels.ideal()).cells

    first, second = (program(models=models, epoch=epoch).cells - target for epoch in (0, 1))
    others = program(models=models, nodes=["c", "d"]).cells - target

    assert bool((first != 0).any())
    assert torch.equal(first, second)
    assert not torch.equal(first, others)


def test_age_counts_in_doublings_within_what_the_model_covers():
    wan, none = (relaxation_named(name) for name in ("wan", "none"))

    assert [age_step_s(wan, age) for age in (0.0, 1.0, 1.9, 2.0, 100.0, 1e9)] == [1.0, 1.0, 1.0, 2.0, 64.0, 2.0**17]
    assert age_step_s(relaxation_named("cmo"), 1e9) == 2.0**28
    assert {age_step_s(none, age) for age in (0.0, 1.0, 1e12)} == {1.0}


def test_a_chip_grows_older_where_it_is_and_as_far_as_its_model_knows():
    ledger = EnergyLedger(2)
    chip = program(ledger=ledger)
    codes = keyed_uint16(1, "codes", count=2 * 256).view(2, 1, 256).int() % 8 - 4
    spent, young = ledger.total(), chip.mvm(codes)

    chip.grow_to(1e9)

    assert ledger.total() == spent
    assert chip.age_s == 2.0**17
    assert torch.equal(chip.cells, program().at_age(2.0**17).cells)
    again = chip.at_age(1.0)
    assert not torch.equal(chip.mvm(codes, reads=torch.zeros(2, 1, dtype=torch.int64)), young)
    assert torch.equal(again.mvm(codes, reads=torch.zeros(2, 1, dtype=torch.int64)), young)
