"""Figures of chips that err, in the networks of the paper: layer by layer, and brought back by a calibration LoRA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from fleet.lab.chip.calibration.data import load_public_data
from fleet.lab.chip.calibration.experiment import Quality, RestoredChips, RestoreReport, run_restore
from fleet.lab.chip.calibration.network import train_network
from fleet.lab.chip.calibration.settings import RestoreSettings
from hwmodel import ConstantProgrammingError, DeviceModels, load_preset, program
from hwmodel.nn.calibration import layer_inputs
from tests.bench.figure import Figure, Target

#: Of the network, its training data and its chips.
SEEDS = range(3)
CHIPS = 5

NETWORKS = ("face-mixer", "speaker-lsm")
#: Standard deviations of the programming error (uS) that the liquid's layers are looked at by.
LIQUID_US = (1.0, 8.0, 10.0)


def restore_figures() -> Iterator[Figure]:
    """Yield accuracy and feature error, one value per chip, of noisy, aged and partly stuck chips."""
    for network in NETWORKS:
        noisy = [
            run_restore(
                RestoreSettings(
                    network,
                    load_preset("180nm-1t1r"),
                    noise_us=(1.0, 5.0),
                    stuck_shares=(0.01,),
                    chips=CHIPS,
                    seed=seed,
                ),
                _silent,
            )
            for seed in SEEDS
        ]
        aged = [
            run_restore(
                RestoreSettings(
                    network,
                    load_preset("130nm-neurram"),
                    noise_us=(),
                    ages=("1d",),
                    stuck_shares=(),
                    chips=CHIPS,
                    seed=seed,
                ),
                _silent,
            )
            for seed in SEEDS
        ]
        yield Figure(f"{network}, float: accuracy", tuple(r.network.accuracy[0] for r in noisy), "share")
        yield from _figures(network, noisy)
        yield from _figures(network, aged)


def liquid_figures() -> Iterator[Figure]:
    """Yield how far products of each layer of the spiking liquid are off those of its weights, a value per chip.

    Each layer is given what it is given without errors, so that none inherits those of another.
    """
    preset, name = load_preset("180nm-1t1r"), "speaker-lsm"
    errors: dict[tuple[float, str], list[float]] = {}
    for seed in SEEDS:
        data = load_public_data(name, folder=None, seed=seed)
        network = train_network(name, data, seed=seed)
        for sigma_us in LIQUID_US:
            models = replace(DeviceModels.of(preset), programming_error=ConstantProgrammingError(sigma_us))
            nodes = [f"chip-{number}" for number in range(CHIPS)]
            chips = program(network, preset, seed, nodes=nodes, models=models, calibration=data.fit[::10])
            floats = {layer: network.get_submodule(layer) for layer in chips.analog}
            for layer, calls in layer_inputs(network, floats, data.held_out).items():
                seen = torch.cat(calls)
                with torch.no_grad():
                    found = chips.analog[layer].product(seen.expand(CHIPS, -1, -1))
                aim = seen @ chips.analog[layer].ideal_weight.T
                distance = (found - aim).square().sum(dim=(1, 2)).sqrt() / aim.square().sum().sqrt()
                errors.setdefault((sigma_us, layer), []).extend(distance.tolist())
    for (sigma_us, layer), values in errors.items():
        where = f"{name}, {preset.name}, programming error {sigma_us:g} uS, layer {layer}"
        yield Figure(f"{where}: relative error of products", tuple(values), "share")


def _figures(network: str, reports: list[RestoreReport]) -> Iterator[Figure]:
    first = reports[0]
    data = first.data.split(",")[0].split(" (")[0]
    where = f"{network} ({data}), {first.settings.preset.name}, rank {first.settings.rank}"
    yield Figure(f"{where}: accuracy on a chip without errors", tuple(r.ideal.accuracy[0] for r in reports), "share")
    for index, found in enumerate(first.conditions):
        runs = [report.conditions[index] for report in reports]
        what = f"{where}, {found.condition.sweep} {found.condition.label}"
        yield Figure(f"{what}: accuracy as it is", _values(runs, lambda r: r.chip.accuracy), "share")
        yield Figure(f"{what}: accuracy restored", _values(runs, lambda r: r.restored.accuracy), "share")
        yield Figure(f"{what}: feature error as it is", _values(runs, lambda r: r.chip.feature_error), "share")
        yield Figure(
            f"{what}: feature error restored, over that as it is",
            _values(runs, lambda r: _ratios(r.restored, r.chip)),
            "1",
            Target("<", 1.0),
        )


def _ratios(restored: Quality, chip: Quality) -> tuple[float, ...]:
    return tuple(after / before for after, before in zip(restored.feature_error, chip.feature_error, strict=True))


def _values(runs: list[RestoredChips], of: Callable[[RestoredChips], tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(value for run in runs for value in of(run))


def _silent(_: str) -> None:
    """Tell nobody how far it is."""
