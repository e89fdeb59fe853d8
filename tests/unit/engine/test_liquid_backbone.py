"""The frozen liquid state machine on made-up voices: spikes in, exact integers out."""

import numpy as np
import pytest
import torch

from edge_node.backbones.liquid import CHANNELS, NEURONS, STEPS, Liquid
from edge_node.backbones.log_mel import FRAME, HOP
from edge_node.errors import SampleError
from fleet.lab.paper.networks import lsm
from hwmodel import EnergyLedger, Phase, load_preset

from .voices import voice, voices

NODES = ("north", "east", "south")


def liquid(nodes=NODES, seed=5):
    ledger = EnergyLedger(len(nodes))
    return Liquid.program(load_preset("180nm-1t1r"), seed, nodes, ledger), ledger


@pytest.fixture(scope="module")
def fleet():
    return liquid()


def test_it_is_as_large_as_the_papers():
    assert (CHANNELS, NEURONS, STEPS) == (lsm.CHANNELS, lsm.NEURONS, lsm.STEPS)


def test_runs_have_ten_frames_and_the_rest_is_dropped(fleet):
    machine, ledger = fleet
    samples = np.concatenate([voice(110, (500, 1_500), seed=1), voice(180, (700, 2_000), seed=2)])
    frames = 23
    whole = samples[: FRAME + (frames - 1) * HOP]
    shorter = samples[: FRAME + (frames - 4) * HOP + 5]

    assert machine.spikes(whole).shape == (2, STEPS, CHANNELS)
    assert set(machine.spikes(whole).unique().tolist()) == {0, 1}
    codes = machine.capture([whole, shorter], ledger, Phase.INFER)
    # The loudest sample may differ, but not what it does to levels that are far from a threshold.
    assert (codes[:, 0] != codes[:, 1]).double().mean() < 0.05


def test_louder_channels_spike_more_and_silence_not_at_all(fleet):
    machine, ledger = fleet
    quiet, loud = (voice(120, (500, 1_500), seed=3, loudness=level) for level in (0.02, 0.9))
    silent = np.zeros((2_000, 1), np.float32)

    assert machine.spikes(quiet).sum() < machine.spikes(loud).sum()
    assert machine.spikes(silent).sum() == 0
    assert machine.capture([silent], ledger, Phase.INFER).abs().max() == 0


def test_codes_are_bitwise_the_same_for_any_batch_order_and_number_of_nodes(fleet):
    machine, ledger = fleet
    samples = voices(12)

    together = machine.capture(samples, ledger, Phase.INFER)
    alone, own = liquid(NODES[1:2])
    backwards = alone.capture(samples[::-1], own, Phase.INFER).flip(1)
    one_by_one = torch.cat([alone.capture([c], own, Phase.INFER) for c in samples[:4]], dim=1)

    assert together.shape == (3, 12, machine.features) == (3, 12, 1_024)
    assert together.dtype == torch.int32
    assert torch.equal(backwards[0], together[1])
    assert torch.equal(one_by_one[0], together[1, :4])
    assert not torch.equal(together[0], together[1])


def test_many_runs_are_computed_in_pieces(fleet, monkeypatch):
    machine, ledger = fleet
    samples = voices(9, seed=6)
    at_once = machine.capture(samples, ledger, Phase.INFER)

    monkeypatch.setattr("edge_node.backbones.liquid._CHUNK", 4)

    assert torch.equal(machine.capture(samples, ledger, Phase.INFER), at_once)


def test_neurons_leak_fire_and_start_anew_as_the_paper_says(fleet):
    machine, ledger = fleet
    sample = voices(1, seed=8)[0]

    codes = machine.capture([sample], ledger, Phase.INFER)[:, 0].double()

    def share_off(**other):
        return float(((codes - in_floating_point(machine, sample, **other)).abs() > 2).double().mean())

    # A membrane very close to the threshold may fire in one arithmetic only, and others hear that it did.
    assert share_off() < 0.1
    assert share_off(leak=0.55) > 0.4
    assert share_off(keeps=1) > 0.4
    assert share_off(recurrent_gain=0) > 0.4


def in_floating_point(machine, sample, leak=0.5, keeps=0, recurrent_gain=0.3):
    """The same machine: m = m / 2 (1 - h) + W s + R h, h = m > 1, and features of it."""
    runs = machine.spikes(sample)
    input_scale = machine.entry.scale / 127 * 1.0 / np.sqrt(0.5 * CHANNELS)
    recurrent_scale = machine.recurrent.scale / 127 * recurrent_gain / np.sqrt(0.3 * NEURONS)
    membrane = torch.zeros(3, len(runs), NEURONS, dtype=torch.float64)
    fired, count, potential = (torch.zeros_like(membrane) for _ in range(3))
    for step in runs.unbind(dim=1):
        heard = machine.entry.mvm((127 * step).expand(3, -1, -1)).double()
        back = machine.recurrent.mvm((127 * fired).int()).double()
        membrane = leak * membrane * (1 - (1 - keeps) * fired) + input_scale * heard + recurrent_scale * back
        fired = (membrane > 1).double()
        count += fired
        potential += membrane.clamp(-4, 4)
    return torch.cat([64 * count, 32 * potential], dim=2).mean(dim=1)


def test_what_is_no_sound_is_refused_before_anything_is_charged(fleet):
    machine, ledger = fleet
    mark = ledger.mark()

    with pytest.raises(SampleError, match="samples, 1"):
        machine.capture([voices(1)[0], np.zeros((9, 12), np.float32)], ledger, Phase.INFER)

    assert ledger.since(mark)[Phase.INFER].energy_j == 0


def test_energy_grows_with_samples_and_no_sample_costs_none(fleet):
    machine, ledger = fleet
    mark = ledger.mark()
    assert machine.capture([], ledger, Phase.INFER).shape == (3, 0, machine.features)
    assert ledger.since(mark)[Phase.INFER].energy_j == 0

    sample = voices(1)[0]
    machine.capture([sample], ledger, Phase.VERIFY)
    one = ledger.since(mark)[Phase.VERIFY].energy_j
    machine.capture([sample] * 3, ledger, Phase.VERIFY)

    assert one > 0
    assert ledger.since(mark)[Phase.VERIFY].energy_j == pytest.approx(4 * one)
    assert machine.cell_writes.shape == (3,)
    assert int(machine.cell_writes.min()) > CHANNELS * NEURONS
