import math

import numpy as np
import pytest
import torch
from reram_fleet.tasks import code_range

from edge_node.backbones import rounded_mean
from edge_node.backbones.reservoir import tanh_table
from edge_node.errors import EngineError, SampleError
from edge_node.recognition.engine import Engine
from edge_node.tasks.speakers import SPEAKERS
from hwmodel import Cost, Phase


def test_tanh_table_is_odd_rounded_and_far_from_every_rounding_boundary():
    table = tanh_table()
    assert table.shape == (2049,)
    assert torch.equal(table, -table.flip(0))
    arguments = torch.arange(-1024, 1025, dtype=torch.float64) / 256
    assert torch.equal(table, torch.round(127 * torch.tanh(arguments)).int())
    assert all(abs(abs(127 * math.tanh(i / 256)) % 1 - 0.5) > 1e-6 for i in range(-1024, 1025))


def test_rounded_mean_takes_half_way_cases_up():
    totals = torch.tensor([-3, -2, -1, 0, 1, 2, 3])
    assert rounded_mean(totals, 2).tolist() == [-1, -1, 0, 0, 1, 1, 2]


def test_n_nodes_capture_what_n_single_nodes_do(fleet, device, preset, fleet_seed, people):
    samples = people["s01"].test[:5]
    codes = fleet.capture(samples)
    assert codes.dtype == torch.int32
    assert codes.shape == (3, 5, fleet.features)
    assert torch.equal(codes[1:2], device.capture(samples))
    first = Engine.build(SPEAKERS, preset, fleet_seed, fleet.node_ids[:1])
    assert torch.equal(codes[:1], first.capture(samples))
    assert torch.equal(fleet.accept_threshold[:1].round(decimals=9), first.accept_threshold.round(decimals=9))


def test_chips_of_one_fleet_differ_but_mean_the_same(fleet, people):
    codes = fleet.capture(people["s01"].test[:5]).double().flatten(1)
    assert not torch.equal(codes[0], codes[1])
    assert float(torch.corrcoef(codes).min()) > 0.98


def test_codes_are_centred_on_the_public_samples_of_the_chip(fleet):
    public = [sample for samples in SPEAKERS.public_samples().values() for sample in samples]
    means = fleet.capture(public).double().mean(dim=1)
    assert float(means.abs().max()) <= 0.5


def test_capture_charges_real_frames_and_no_padding(device, people):
    samples = sorted(people["s03"].test, key=len)
    short, long = samples[0], samples[-1]
    assert len(short) < len(long)

    def cost_of(*batch):
        mark = device.ledger.mark()
        device.capture(batch)
        return device.ledger.since(mark)[Phase.INFER]

    alone = cost_of(short) + cost_of(long)
    assert cost_of(short, long).energy_j == pytest.approx(alone.energy_j)
    assert cost_of(long).energy_j / cost_of(short).energy_j == pytest.approx(len(long) / len(short))


def test_a_bad_sample_is_refused_before_anything_is_charged(device, people):
    mark = device.ledger.mark()
    with pytest.raises(SampleError):
        device.capture([people["s03"].test[0], np.zeros((5, 3), np.float32)])
    assert device.ledger.since(mark)[Phase.INFER] == Cost()


def test_no_samples_give_no_codes(device):
    assert device.capture([]).shape == (1, 0, device.features)


def test_building_programs_every_cell_once(built_fleet):
    for node in range(3):
        programmed = built_fleet.ledger.totals(node)[Phase.PROGRAM]
        assert programmed.cell_writes == int(built_fleet.cell_writes[node]) > 0


def test_rebuilt_chip_is_the_same_and_its_programming_is_not_charged_again(device, preset, fleet_seed, people):
    saved = device.ledger.totals(0)
    again = Engine.build(SPEAKERS, preset, fleet_seed, device.node_ids, saved_costs=[saved])
    assert again.ledger.totals(0)[Phase.PROGRAM] == saved[Phase.PROGRAM]
    assert again.ledger.totals(0)[Phase.INFER].energy_j > saved[Phase.INFER].energy_j
    samples = people["s05"].test[:3]
    assert torch.equal(again.capture(samples), device.capture(samples))
    # Of floats, which threads may add up in another order.
    torch.testing.assert_close(again.accept_threshold, device.accept_threshold, rtol=1e-9, atol=0.0)


def test_chip_that_was_never_programmed_is_charged_on_top_of_saved_costs(preset, fleet_seed):
    saved = {Phase.RADIO: Cost(energy_j=1.0, bytes=5)}
    engine = Engine.build(SPEAKERS, preset, fleet_seed, ["new"], saved_costs=[saved])
    totals = engine.ledger.totals(0)
    assert totals[Phase.RADIO] == saved[Phase.RADIO]
    assert totals[Phase.PROGRAM].cell_writes == int(engine.cell_writes[0])


def test_saved_costs_of_another_number_of_nodes_are_refused(preset, fleet_seed):
    with pytest.raises(EngineError, match="one each"):
        Engine.build(SPEAKERS, preset, fleet_seed, ["a"], saved_costs=[{}, {}])


def test_what_people_say_fits_into_the_range_that_the_coordinator_takes(fleet, people):
    codes = code_range("speakers")
    assert fleet.features == codes.features
    samples = [sample for person in people.values() for sample in (*person.train[:5], *person.test[:5])]
    assert 0.1 * codes.code_max < float(fleet.capture(samples).abs().max()) < 0.9 * codes.code_max
