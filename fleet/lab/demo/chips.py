"""The demo's people on chips that are worn or too small: how many are recognised there, without a LoRA and with one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from reram_fleet.tasks import task_names

from edge_node.recognition.engine import Engine
from edge_node.tasks import StagedTask, load_task
from fleet.lab.demo.evidence import ChipRates
from fleet.lab.fleets.captured_fleet import PRESET, share_named
from fleet.lab.fleets.neurons import answers, ask_neurons
from fleet.lab.verification.verified_fleet import VerifiedFleet
from fleet.sim.scenario import Chip
from fleet.sim.task_people import recognising
from hwmodel import Preset, cost, load_preset

#: Cells as the technology says, and worn: programming misses by 5 uS, and 1 % of the cells are stuck.
CELLS: Mapping[str, Chip] = {"as new": Chip(), "worn": Chip(programming_sigma_us=5.0, stuck_share=0.01)}
#: Federated rounds of the LoRA, and shards, as in the scenario `small-chips`.
_ROUNDS, _SHARDS = 8, 1
#: Each is a fleet of chips of its own.
_SEEDS = (1, 2, 3)


def chip_rates(task: str, say: Callable[[str], None]) -> tuple[ChipRates, ...]:
    """Return the rates of a task and of its twin on the smallest chips, as new and worn."""
    twins = [(name, load_task(name)) for name in task_names() if name.startswith(f"{task}-")]
    neurons = {name: twin.stage.neurons for name, twin in twins if isinstance(twin, StagedTask)}
    smallest = sorted(neurons, key=neurons.__getitem__)[:1]
    return tuple(_mean(name, cells, say) for name in (task, *smallest) for cells in CELLS)


def _mean(name: str, cells: str, say: Callable[[str], None]) -> ChipRates:
    found = [_measured(name, cells, seed) for seed in _SEEDS]
    neurons = [rates.neurons for rates in found if rates.neurons is not None]
    mean = ChipRates(
        name,
        cells,
        fmean(neurons) if neurons else None,
        fmean(rates.closed_form for rates in found),
        fmean(rates.lora for rates in found),
        fmean(rates.pulses_per_cell for rates in found),
    )
    say(f"{name}, cells {cells}: {mean.closed_form:.3f} by closed form, {mean.lora:.3f} with the LoRA")
    return mean


def _measured(name: str, cells: str, seed: int) -> ChipRates:
    task = recognising(name)
    people = range(len(task.split.enrolled))
    with tempfile.TemporaryDirectory(prefix="reram-fleet-chips-") as folder:
        fleet = VerifiedFleet(task, seed, Path(folder), head=False, chip=CELLS[cells])
        try:
            fleet.enrol(people)
            fleet.learn(_ROUNDS, _SHARDS)
            asked = {number: fleet.capture(number) for number in people}
            codes = torch.cat([test for _, test in asked.values()], dim=1)
            truth = [number for number, (_, test) in asked.items() for _ in range(test.shape[1])]
            found = fleet.engine.identify(codes)
            tags = [fleet.people[number].tag for number in truth]
            neurons = None
            if isinstance(task, StagedTask):
                part = partial(answers, task.stage)
                taught = {str(number): train.flatten(0, 1) for number, (train, _) in asked.items()}
                best = ask_neurons(fleet.engine, part, taught, codes).best
                neurons = float((best == torch.tensor(truth)).double().mean())
            return ChipRates(
                name,
                cells,
                neurons,
                share_named(found.best_tag_subject_only, tags),
                share_named(found.best_tag_without_head, tags),
                _pulses_per_cell(fleet.engine, load_preset(PRESET)),
            )
        finally:
            fleet.close()


def _pulses_per_cell(engine: Engine, preset: Preset) -> float:
    network = engine.network(0)
    assert network is not None
    layers = [layer for layer in network.layers if not layer.digital]
    cells = sum(cost.crossbar_cells(preset, layer.inputs, layer.outputs) for layer in layers)
    return float(engine.cell_writes.double().mean()) / cells
