"""Figures of the chip: its models against what was published, its cost model, its speed and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hwmodel import load_network, load_preset, network_names, pulses_against_tolerance, sampled_programming_error
from hwmodel.cost.interpretations import (
    DEPLOY_INT8,
    EQUAL_UNIT,
    UPDATES_SGD,
    WHOLE_TRAINING_SHORT,
    Interpretation,
    PaperRatio,
)
from hwmodel.cost.ratios import InterpretationResult, RatioReport, ratio_report
from hwmodel.cost.uncertainty import DRAWS, monte_carlo
from hwmodel.device.fits import fit_tolerance_us
from tests.bench import fleet_memory
from tests.bench.crossbar_pairs import SHAPES, read_noise_pair, tile_accurate_pair
from tests.bench.face_backbones import FLEETS, PRESET
from tests.bench.figure import Figure, Target
from tests.bench.restore_figures import liquid_figures, restore_figures
from tests.bench.side_by_side import Pair, side_by_side

SEEDS = range(5)
RUNS = 3
DAY_S = 86_400.0
TOLERANCES_US = (0.5, 1.0, 2.0, 3.0)

#: Crossbar weights, LoRA parameters, MACs and LoRA MACs per pass, and tiles of 128: counted by hand from the
#: layers that arXiv 2601.10037 and its code give.
COUNTS = {
    "face-mixer": (5_048, 1_404, 87_160, 20_124, 10),
    "speaker-lsm": (336_384, 13_408, 3_340_800, 134_080, 28),
    "image-dit": (101_093_376, 368_640, 3_670_671_360, 23_592_960, 6_180),
}

#: The interpretation and network of each ratio that is consistent with the paper's figure.
CONSISTENT: tuple[tuple[Interpretation, str], ...] = (
    (UPDATES_SGD, "face-mixer"),
    (DEPLOY_INT8, "face-mixer"),
    (EQUAL_UNIT, "image-dit"),
)


def fit_figures() -> Iterator[Figure]:
    """Sampled cells against the published fits, and simulated write-verify against its closed form."""
    for age, age_s in (("1 s", 1.0), ("1 day", DAY_S)):
        sampled = [sampled_programming_error(age_s, fleet_seed=seed) for seed in SEEDS]
        yield Figure(
            f"programming error {age} after programming: largest deviation from the published fit over "
            "max(0.35 uS, 15 %)",
            tuple(one.worst_share_of_tolerance for one in sampled),
            "1",
            Target("<=", 1.0),
        )
        yield Figure(
            f"programming error {age} after programming: largest deviation from the published fit",
            tuple(float(one.deviation_us.max()) for one in sampled),
            "uS",
        )
    fits = sampled_programming_error(1.0, cells=2)
    yield Figure(
        "the two published fits of the same cells at 1 s: largest difference",
        (float(np.nanmax(np.abs(fits.fit_us - fits.rival_us))),),
        "uS",
    )
    stated = ~np.isnan(fits.rival_us)
    outside = np.abs(fits.fit_us - fits.rival_us)[stated] > fit_tolerance_us(fits.fit_us)[stated]
    yield Figure(
        "the two published fits of the same cells at 1 s: share of conductances at which they differ by more "
        "than max(0.35 uS, 15 %)",
        (float(outside.mean()),),
        "share",
    )
    runs = [pulses_against_tolerance(load_preset(PRESET), TOLERANCES_US, fleet_seed=seed) for seed in SEEDS]
    yield Figure(
        "write-verify pulse by pulse against its closed form: pulses per cell, worst tolerance",
        tuple(max(abs(c.simulated_pulses / c.expected_pulses - 1) for c in run) for run in runs),
        "share",
        Target("<=", 0.05),
    )
    yield Figure(
        "write-verify pulse by pulse against its closed form: energy per cell, worst tolerance",
        tuple(max(abs(c.simulated_energy_j / c.expected_energy_j - 1) for c in run) for run in runs),
        "share",
        Target("<=", 0.05),
    )
    yield Figure(
        "write-verify pulse by pulse against its closed form: share of unconverged cells, worst tolerance",
        tuple(max(abs(c.simulated_not_converged_share - c.expected_not_converged_share) for c in run) for run in runs),
        "share",
        Target("<=", 0.01),
    )


def count_figures() -> Iterator[Figure]:
    """Layers of the paper's networks, counted."""
    names = ("crossbar weights", "LoRA parameters", "MACs per pass", "LoRA MACs per pass", "tiles of 128")
    preset = load_preset(PRESET)
    for network, expected in COUNTS.items():
        spec = load_network(network)
        counted = (spec.crossbar_weights, spec.lora_parameters, spec.macs, spec.lora_macs, spec.tiles(preset))
        for name, value, wanted in zip(names, counted, expected, strict=True):
            yield Figure(f"{network}: {name}", (float(value),), "1", Target("=", float(wanted)))


def ratio_figures() -> Iterator[Figure]:
    """The paper's three ratios, what caps them, and how long all draws take."""
    preset, networks = load_preset(PRESET), [load_network(name) for name in network_names()]
    reports, seconds = [], []
    for seed in range(RUNS):
        started = time.perf_counter()
        monte_carlo(networks, preset, seed=seed)
        reports.append(ratio_report(networks, preset, seed=seed))
        seconds.append(time.perf_counter() - started)
    yield Figure(
        f"Monte Carlo of {DRAWS} draws, three networks: quantities, ratios and sensitivities",
        tuple(seconds),
        "s",
        Target("<=", 30.0),
    )
    for interpretation, network in CONSISTENT:
        found = [_result(report, interpretation, network) for report in reports]
        what = _reading(interpretation, network)
        yield Figure(f"{what}: nominal ratio", (found[0].nominal,), "1")
        yield Figure(f"{what}: draws within 25 %", tuple(one.share_within for one in found), "share")
        yield from _percentiles(what, found)
    yield Figure("all three ratios within 25 % in one draw", tuple(r.anchored.share_within for r in reports), "share")
    yield Figure(
        "face-mixer: largest inference ratio that an equal digital unit allows (48.44 in the paper)",
        (reports[0].caps["face-mixer"],),
        "1",
        Target("<", PaperRatio.INFERENCE.paper),
    )
    yield Figure(
        "whole training, largest ratio of any network in any draw (147.76 in the paper)",
        tuple(
            max(_result(report, WHOLE_TRAINING_SHORT, name).band.largest for name in network_names())
            for report in reports
        ),
        "1",
        Target("<", PaperRatio.TRAINING.paper),
    )
    for network in network_names():
        found = [_result(report, WHOLE_TRAINING_SHORT, network) for report in reports]
        yield from _percentiles(_reading(WHOLE_TRAINING_SHORT, network), found)


def speed_figures() -> Iterator[Figure]:
    """Products of the claim's shape beside a dense layer."""
    ratios = _median_ratios(tile_accurate_pair(*SHAPES[0]))
    name = "tile-accurate product 512x512, batch 64, tiles of 128, over torch.nn.Linear, one thread"
    yield Figure(name, ratios, "1", Target("<=", 20.0))
    yield Figure(f"{name}: goal", ratios, "1", Target("<=", 8.0))
    yield Figure(f"{name}, with read noise", _median_ratios(read_noise_pair(*SHAPES[0])), "1")


def memory_figures() -> Iterator[Figure]:
    """A thousand chips in one process."""
    for backbone in FLEETS:
        runs = [fleet_memory.measured(backbone) for _ in range(RUNS)]
        name = f"{fleet_memory.NODES} tile-accurate chips, {backbone}, in one process, one photo"
        yield Figure(f"{name}: peak memory", tuple(float(run.peak_bytes) for run in runs), "B", Target("<=", 2e9))
        yield Figure(f"{name}: programming and product", tuple(run.seconds for run in runs), "s")


SECTIONS: dict[str, Callable[[], Iterator[Figure] | Sequence[Figure]]] = {
    "models against fits": fit_figures,
    "networks": count_figures,
    "ratios": ratio_figures,
    "speed": speed_figures,
    "memory": memory_figures,
    "restored chips": restore_figures,
    "liquid": liquid_figures,
}


def _reading(interpretation: Interpretation, network: str) -> str:
    ratio = interpretation.ratio
    return f"{ratio} ({ratio.paper} in the paper), {network}, read as '{interpretation.name}'"


def _percentiles(what: str, found: Sequence[InterpretationResult]) -> Iterator[Figure]:
    """Yield the ends between which the paper's figure has to lie to be called consistent."""
    yield Figure(f"{what}: 5th percentile of the draws", tuple(one.band.p5 for one in found), "1")
    yield Figure(f"{what}: 95th percentile of the draws", tuple(one.band.p95 for one in found), "1")


def _result(report: RatioReport, interpretation: Interpretation, network: str) -> InterpretationResult:
    return next(
        result
        for found in report.ratios
        for result in found.interpretations
        if result.interpretation == interpretation.name and result.network == network
    )


def _median_ratios(pair: Pair) -> tuple[float, ...]:
    return tuple(side_by_side(pair).ratio for _ in range(RUNS))
