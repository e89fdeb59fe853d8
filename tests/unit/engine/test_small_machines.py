"""Small reservoir and small liquid: what is captured for a LoRA beside both of their layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reram_fleet.code_ranges import LoraStage
from reram_fleet.tasks import code_range
from reram_fleet.v1.types_pb2 import NEURON_LAW_TANH

from edge_node.backbones.liquid import STEPS
from edge_node.backbones.reservoir import UNIT_CODE
from edge_node.backbones.segments import LayerInputs, SegmentSums
from edge_node.backbones.small_liquid import SmallLiquid
from edge_node.backbones.small_reservoir import SmallReservoir
from edge_node.errors import EngineError, SampleError
from edge_node.recognition.engine import Engine
from edge_node.tasks import load_task
from edge_node.tasks.fsdd import SmallFsddTask
from edge_node.tasks.speakers import NAMES, SPEAKERS, load_people
from edge_node.tasks.speakers_small import SPEAKERS_8
from hwmodel import EnergyLedger, Phase, load_preset

from .voices import voices

NODES = ("north", "east", "south")
STAGE = LoraStage(rank=10, neurons=6, segments=4, law=NEURON_LAW_TANH)
WIDTH = STAGE.rank + STAGE.neurons
PRESET = load_preset("180nm-1t1r")


def reservoir(nodes=NODES):
    ledger = EnergyLedger(len(nodes))
    return SmallReservoir.program(SPEAKERS_8.coding, STAGE, PRESET, 5, nodes, ledger), ledger


def liquid(nodes=NODES):
    ledger = EnergyLedger(len(nodes))
    return SmallLiquid.program(STAGE, PRESET, 5, nodes, ledger), ledger


def sounds():
    return voices(5, seed=4)


def utterances():
    return list(load_people(["s02"])["s02"].test[:5])


MACHINES = pytest.mark.parametrize(("program", "samples"), [(reservoir, utterances), (liquid, sounds)])


@MACHINES
def test_codes_are_bitwise_the_same_for_any_batch_order_and_number_of_nodes(program, samples):
    heard = samples()
    machine, ledger = program()
    together = machine.capture(heard, ledger, Phase.INFER)
    alone, own = program(NODES[1:2])

    assert together.shape == (3, 5, machine.features) == (3, 5, STAGE.features)
    assert together.dtype == torch.int32
    assert torch.equal(alone.capture(heard[::-1], own, Phase.INFER).flip(1)[0], together[1])
    one_by_one = torch.cat([alone.capture([sample], own, Phase.INFER) for sample in heard], dim=1)
    assert torch.equal(one_by_one[0], together[1])
    assert not torch.equal(together[0], together[1])


@MACHINES
def test_what_lora_reads_of_the_samples_is_the_same_on_all_chips_but_their_answers_are_not(program, samples):
    machine, ledger = program()

    codes = machine.capture(samples(), ledger, Phase.INFER).reshape(3, 5, STAGE.segments, WIDTH)

    entry, drives = codes[..., 5:10], codes[..., 10:]
    assert torch.equal(entry[0], entry[1]), "A of the entry layer sees the sample alone"
    assert entry.abs().max() > 0
    assert not torch.equal(drives[0], drives[1])


@MACHINES
def test_no_sample_costs_nothing_and_three_cost_three_times_as_much_as_one(program, samples):
    machine, ledger = program()
    mark = ledger.mark()
    assert machine.capture([], ledger, Phase.INFER).shape == (3, 0, STAGE.features)
    assert ledger.since(mark)[Phase.INFER].energy_j == 0

    sample = samples()[0]
    machine.capture([sample], ledger, Phase.VERIFY)
    one = ledger.since(mark)[Phase.VERIFY].energy_j
    machine.capture([sample] * 3, ledger, Phase.VERIFY)

    assert one > 0
    assert ledger.since(mark)[Phase.VERIFY].energy_j == pytest.approx(4 * one)
    assert machine.cell_writes.shape == (3,)


def test_reservoir_keeps_means_over_quarters_of_what_drove_its_units():
    machine, ledger = reservoir(NODES[:1])
    (sample, *_) = utterances()
    inputs = np.concatenate([machine.reservoir.coding.encode(sample).numpy(), np.full((len(sample), 1), UNIT_CODE)], 1)

    codes = machine.capture([sample], ledger, Phase.INFER)[0, 0].reshape(STAGE.segments, WIDTH).numpy()

    state, a, b = np.zeros(STAGE.neurons), machine.recurrent.a.numpy(), machine.entry.a.numpy()
    quarters = np.arange(len(sample)) * STAGE.segments // len(sample)
    expected = np.zeros((len(sample), WIDTH))
    for t, u in enumerate(inputs):
        held = np.floor((state * 256 + 128) / 256)
        pair = [
            float(gain) * crossbar.mvm(torch.tensor(x, dtype=torch.int32)[None, None])[0, 0].numpy()
            for gain, crossbar, x in zip(
                machine.reservoir._multipliers,
                (machine.reservoir.recurrent, machine.reservoir.entry),
                (held, u),
                strict=True,
            )
        ]
        argument = np.clip(sum(pair) / 2**16, -1024, 1024)
        expected[t] = np.concatenate([a @ held / 4, b @ u / 4, argument / 2])
        state = (state + 127 * np.tanh(argument / 256)) / 2
    for quarter in range(STAGE.segments):
        off = np.abs(codes[quarter] - expected[quarters == quarter].mean(axis=0))
        assert off[5:10].max() <= 0.5, "the entry layer's share is exact but for the last rounding"
        assert off.max() < 6, "the machine itself rounds its state"
        assert np.abs(codes[quarter, 10:]).max() > 60


def test_liquid_keeps_means_over_quarters_of_spikes_and_membranes():
    machine, ledger = liquid(NODES[:1])
    sample = sounds()[2]
    spikes = machine.liquid.spikes(sample).reshape(-1, 140).double()

    codes = machine.capture([sample], ledger, Phase.INFER)[0, 0].reshape(STAGE.segments, WIDTH)

    quarters = torch.arange(len(spikes)) * STAGE.segments // len(spikes)
    runs = machine.liquid.runs([sample])
    steps = list(machine.liquid.steps(runs, ledger, Phase.INFER))
    fired, membranes = (
        torch.stack([getattr(step, name)[0] for step in steps], dim=1).flatten(0, 1).double()
        for name in ("before", "membrane")
    )
    assert len(fired) == len(spikes) == STEPS * len(runs.spikes)
    for quarter in range(STAGE.segments):
        mine = quarters == quarter
        whole = [
            16 * machine.recurrent.a @ fired[mine].mean(0),
            4 * machine.entry.a @ spikes[mine].mean(0),
            membranes[mine].mean(0) / 32,
        ]
        assert float((codes[quarter] - torch.cat(whole)).abs().max()) <= 0.5 + 1e-9
    assert codes[:, 10:].abs().max() > 60


def test_many_runs_are_computed_in_pieces(monkeypatch):
    machine, ledger = liquid()
    at_once = machine.capture(sounds(), ledger, Phase.INFER)

    monkeypatch.setattr("edge_node.backbones.liquid._CHUNK", 3)

    assert torch.equal(machine.capture(sounds(), ledger, Phase.INFER), at_once)


def test_sample_needs_a_frame_in_every_segment():
    machine, ledger = reservoir()
    with pytest.raises(SampleError, match="4 to 256 frames"):
        machine.capture([np.zeros((3, 12), np.float32)], ledger, Phase.INFER)


def test_rank_must_be_that_of_the_layers_together():
    layer = LayerInputs.of(3, 7, 1, "entry", (1, 1))
    with pytest.raises(EngineError, match="3 rows"):
        SegmentSums(STAGE, [layer], (1, 1), 1, torch.tensor([8]))


@pytest.mark.parametrize("name", ["speakers-4", "speakers-8", "speakers-16"])
def test_codes_of_real_people_fit_into_the_range_of_their_task(name):
    task, codes = load_task(name), code_range(name)
    assert task.name == name
    assert codes.stage == task.stage
    assert codes.features == codes.stage.features
    device = Engine.build(task, PRESET, 1, ["north"])
    people = task.load_people().values()
    samples = [sample for person in people for sample in (*person.train[:5], *person.test[:5])]
    assert 0.05 * codes.code_max < float(device.capture(samples).abs().max()) < 0.9 * codes.code_max


def test_roles_are_those_of_the_large_task_until_a_seed_draws_others():
    assert SPEAKERS_8.split == SPEAKERS.split
    one, other = (SPEAKERS_8.with_seed(seed).split for seed in (1, 2))

    assert (len(one.public), len(one.enrolled), len(one.strangers)) == (3, 4, 2)
    assert sorted((*one.public, *one.enrolled, *one.strangers)) == sorted(NAMES)
    assert other != one
    public = SPEAKERS_8.with_seed(2).public_samples()
    assert set(public) == set(other.public)


def test_small_task_of_spoken_digits_has_its_code_range_and_draws_roles_as_the_large_one_does():
    task, codes = load_task("fsdd-8"), code_range("fsdd-8")

    assert (task.name, task.stage) == ("fsdd-8", codes.stage)
    assert codes.features == task.stage.features
    assert task == SmallFsddTask.of(1)
    assert task.with_seed(3).split == load_task("fsdd").with_seed(3).split
