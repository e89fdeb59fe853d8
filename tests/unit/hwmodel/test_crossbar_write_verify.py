"""Programming a layer pulse by pulse beside the closed form."""

import pytest
import torch

from hwmodel import Crossbar, EnergyLedger, Phase, cost, keyed_normal, load_preset

PRESET = load_preset("180nm-1t1r")


def program(nodes=("a", "b"), preset=PRESET, **options):
    weights = keyed_normal(1, "weights", count=64 * 200).view(64, 200)
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=nodes, layer="layer", **options)


def pulsed(**options):
    return program(write_verify="pulse-by-pulse", **options)


def test_pulses_are_counted_on_every_node_and_come_close_to_the_closed_form():
    simulated, expected = pulsed(), program()

    assert simulated.cell_writes[0] != simulated.cell_writes[1]
    assert simulated.cell_writes.tolist() == pytest.approx(expected.cell_writes.tolist(), rel=0.03)
    assert simulated.wear.tolist() == pytest.approx(expected.wear.tolist(), rel=0.03)


def test_the_ledger_is_charged_with_the_pulses_that_each_node_needed():
    ledger = EnergyLedger(2)
    layer = pulsed(ledger=ledger)

    writes = [ledger.totals(node)[Phase.PROGRAM].cell_writes for node in range(2)]
    closed_form = cost.program_cells(PRESET, 200 * (64 + 4))

    assert writes == layer.cell_writes.tolist()
    for node in range(2):
        assert ledger.total(node).energy_j == pytest.approx(closed_form.energy_j, rel=0.05)
        assert ledger.total(node).seconds == pytest.approx(closed_form.seconds, rel=0.03)


def test_both_ways_leave_errors_of_the_same_size():
    # The published 1 uS at 1 s: the tolerance's 1/sqrt(3) of it, and what the first second adds.
    target = program(preset=PRESET.with_values({"cell.programming_sigma_us": 0})).cells

    spread = [(make(nodes=["a"]).cells - target[:1]).std().item() for make in (pulsed, program)]

    assert spread[0] == pytest.approx(spread[1], rel=0.03)


def test_a_chip_that_was_pulsed_is_regenerated_alone_and_at_another_age():
    together, alone = pulsed(nodes=["a", "b", "c"]), pulsed(nodes=["b"])

    assert torch.equal(together.cells[1:2], alone.cells)
    assert torch.equal(together.cell_writes[1:2], alone.cell_writes)
    neurram = load_preset("130nm-neurram")
    young = pulsed(nodes=["b"], preset=neurram)
    aged = young.at_age(3600.0)
    assert torch.equal(aged.cells, pulsed(nodes=["b"], preset=neurram, age_s=3600.0).cells)
    assert torch.equal(aged.cell_writes, young.cell_writes)


def test_cells_that_run_out_of_pulses_are_reported():
    hasty = PRESET.with_values({"write_verify.max_pulses": 30, "write_verify.tolerance_us": 0.5})
    simulated, expected = pulsed(preset=hasty), program(preset=hasty)

    cells = 200 * (64 + 4)
    # erf(0.5 / (sqrt(2) 6.77)) = 5.9 % a pulse: 16 % of the cells miss it 30 times
    assert expected.not_converged.tolist() == pytest.approx([0.161 * cells] * 2, rel=0.02)
    assert simulated.not_converged.tolist() == pytest.approx(expected.not_converged.tolist(), rel=0.05)
    assert bool((simulated.not_converged == simulated.not_converged.round()).all())
    assert pulsed(preset=PRESET).not_converged.max() < 5
