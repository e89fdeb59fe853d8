"""Figures of chips that a calibration LoRA brings back, in the networks of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fleet.lab.chip.calibration.experiment import Quality, RestoredChips, RestoreReport, run_restore
from fleet.lab.chip.calibration.settings import RestoreSettings
from hwmodel import load_preset
from tests.bench.figure import Figure, Target

#: Of the network, its training data and its chips.
SEEDS = range(3)
CHIPS = 5

NETWORKS = ("face-mixer", "speaker-lsm")


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
