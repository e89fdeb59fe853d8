"""The plots of model against published fits."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

import hwmodel
from fleet.lab.chip.fits import DAY_S, PRESET, ChipFits
from fleet.report.curves import Curve, CurvePanel, Mark, curves
from hwmodel import ProgrammingError, SampledError

_CONDUCTANCE = "target conductance (µS)"
_SIGMA = "standard deviation (µS)"
_TOLERANCE = "acceptance window, ± (µS)"


def fits_figures(fits: ChipFits) -> dict[str, Figure]:
    """Return the figures by the name of their file: errors by age, all models, write-verify."""
    return {
        "chip-fits-error": _errors(fits),
        "chip-fits-models": _models(),
        "chip-fits-write-verify": _write_verify(fits),
    }


def age_text(age_s: float) -> str:
    """Return an age as text: ``1 s``, ``1 d``."""
    return f"{age_s / DAY_S:g} d" if age_s >= DAY_S else f"{age_s:g} s"


def _errors(fits: ChipFits) -> Figure:
    return curves(
        f"Cells of NeuRRAM after write-verify: published fits, and {fits.cells:,} simulated cells per point",
        [_error_panel(error) for error in fits.errors],
        columns=3,
    )


def _error_panel(error: SampledError) -> CurvePanel:
    x = error.conductance_us.tolist()
    room = hwmodel.fit_tolerance_us(error.fit_us)
    lines = [
        Curve(
            "fit of aihwkit, ± max(0.35 µS, 15 %)",
            x,
            error.fit_us.tolist(),
            y_low=(error.fit_us - room).tolist(),
            y_high=(error.fit_us + room).tolist(),
        ),
        Curve("simulated cells", x[::3], error.sampled_us[::3].tolist(), Mark.POINTS),
    ]
    if not np.isnan(error.rival_us).all():
        lines.append(Curve("fit of CrossSim (of the same figure)", x, error.rival_us.tolist(), Mark.DASHED))
    return CurvePanel(f"after {age_text(error.age_s)}", _CONDUCTANCE, _SIGMA, lines, y_range=(0.0, 5.0))


def _models() -> Figure:
    models: list[tuple[str, ProgrammingError, tuple[float, float] | None]] = [
        ("constant (arXiv 2601.10037)", hwmodel.ConstantProgrammingError(1.0), (20.0, 80.0)),
        ("Wan 2022 (fit of aihwkit)", hwmodel.PROGRAMMING_ERROR_FITS["wan-aihwkit"], None),
        ("Wan 2022 (fit of CrossSim)", hwmodel.PROGRAMMING_ERROR_FITS["wan-crosssim"], None),
        ("Milo 2021", hwmodel.PROGRAMMING_ERROR_FITS["milo"], None),
        ("CMO/HfOx, within 2 %", hwmodel.PROGRAMMING_ERROR_FITS["cmo-2%"], None),
        ("CMO/HfOx, within 0.2 %", hwmodel.PROGRAMMING_ERROR_FITS["cmo-0.2%"], None),
    ]
    wan, cmo = hwmodel.WanRelaxation(), hwmodel.CmoRelaxation()
    ages = np.geomspace(1.0, 2 * DAY_S, 61)
    at = (5.0, 20.0, 35.0)
    return curves(
        "Models of the cell, each over the range that it covers",
        [
            CurvePanel(
                "programming error (CMO: as accepted)",
                _CONDUCTANCE,
                _SIGMA,
                [_model_curve(label, model, window) for label, model, window in models],
                y_log=True,
            ),
            CurvePanel(
                "total error, or what relaxation adds (CMO), by age",
                "time since programming",
                _SIGMA,
                [
                    *(
                        Curve(
                            f"Wan 2022, {g:g} µS",
                            ages.tolist(),
                            [float(wan.total_sigma_us(torch.tensor([g]).double(), age)[0]) for age in ages],
                        )
                        for g in at
                    ),
                    Curve(
                        "CMO/HfOx relaxation",
                        ages.tolist(),
                        [float(cmo.shift(torch.tensor([20.0]).double(), age).sigma_us[0]) for age in ages],
                        Mark.DASHED,
                    ),
                ],
                x_log=True,
                x_ticks=[(1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (DAY_S, "1 d")],
                y_range=(0.0, 5.0),
            ),
        ],
        shared_legend=False,
    )


def _model_curve(label: str, model: ProgrammingError, window: tuple[float, float] | None) -> Curve:
    low, high = window or (model.low_us, model.high_us)
    x = torch.linspace(low, high, 101, dtype=torch.float64)
    return Curve(label, x.tolist(), model.sigma_us(x).tolist())


def _write_verify(fits: ChipFits) -> Figure:
    preset = hwmodel.load_preset(PRESET)
    tolerances = [comparison.tolerance_us for comparison in fits.pulses]
    dense = np.geomspace(min(tolerances), max(tolerances), 61).tolist()
    pulse = preset.write_verify
    ticks = [(tolerance, f"{tolerance:g}") for tolerance in tolerances]

    def panel(title: str, y_label: str, name: str, expected: Curve, *, factor: float = 1.0) -> CurvePanel:
        simulated = [getattr(comparison, f"simulated_{name}") * factor for comparison in fits.pulses]
        points = Curve("simulated pulse by pulse", tolerances, simulated, Mark.POINTS)
        return CurvePanel(title, _TOLERANCE, y_label, [expected, points], x_log=True, y_log=True, x_ticks=ticks)

    def at_tolerances(name: str, factor: float = 1.0) -> Curve:
        values = [getattr(comparison, f"expected_{name}") * factor for comparison in fits.pulses]
        return Curve("closed form", tolerances, values)

    pulses = [hwmodel.mean_pulses(t, pulse.first_pulse_sigma_us, pulse.max_pulses) for t in dense]
    return curves(
        f"Write-verify, {preset.name}: {fits.cells:,} cells per tolerance, none stuck",
        [
            panel("pulses", "mean pulses per cell", "pulses", Curve("closed form", dense, pulses)),
            panel("energy", "energy per cell (nJ)", "energy_j", at_tolerances("energy_j", 1e9), factor=1e9),
        ],
    )
