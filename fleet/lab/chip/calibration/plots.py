"""Plots of chips before and after calibration, from the document of `fleet chip restore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fleet.report.curves import Curve, CurvePanel, Mark, curves

#: Name of a sweep, and its axis.
_SWEEPS = {
    "noise": ("programming error", "standard deviation of the conductance (uS)"),
    "age": ("age", "since programming"),
    "stuck": ("stuck cells", "share of all cells (%)"),
}
#: Name of a measure, and its axis.
_MEASURES = {
    "accuracy": ("Accuracy", "share of held-out inputs"),
    "feature_error": ("Feature error", "relative to the features' spread"),
}


def restore_figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """Return one figure: accuracy above, error of the features below, a column for each sweep.

    Bands span the chips from worst to best.
    """
    by_sweep: dict[str, list[Mapping[str, Any]]] = {}
    for condition in document["conditions"]:
        by_sweep.setdefault(condition["sweep"], []).append(condition)
    chip_panels = [
        _panel(document, sweep, conditions, measure) for measure in _MEASURES for sweep, conditions in by_sweep.items()
    ]
    lora = document["lora"]
    title = (
        f"{document['network']['name']} on {document['preset']['name']}: {document['chips']} chips, "
        f"calibration LoRA of rank {lora['rank']} ({lora['sram_bytes']:,} bytes of SRAM)"
    )
    return {"chip-restore": curves(title, chip_panels, columns=len(by_sweep))}


def _panel(
    document: Mapping[str, Any], sweep: str, conditions: Sequence[Mapping[str, Any]], measure: str
) -> CurvePanel:
    scale = 100.0 if sweep == "stuck" else 1.0
    at = [scale * condition["value"] for condition in conditions]
    ends = [min(at), max(at)]
    drawn = [_curve("chip", at, conditions, "chip", measure)]
    kept = [(x, condition) for x, condition in zip(at, conditions, strict=True) if condition["kept"]]
    if kept:
        drawn.append(
            _curve("LoRA fitted at the first age", [x for x, _ in kept], [c for _, c in kept], "kept", measure)
        )
    drawn.append(_curve("with calibration LoRA", at, conditions, "restored", measure))
    ideal = document["ideal_chip"][measure]["mean"]
    drawn.append(Curve("chip without errors", ends, [ideal, ideal], Mark.DASHED))
    if measure == "accuracy":
        network = document["network"]["accuracy"]
        drawn.append(Curve("network in float", ends, [network, network], Mark.DOTTED))
    return CurvePanel(
        title=f"{_MEASURES[measure][0]} over {_SWEEPS[sweep][0]}",
        x_label=_SWEEPS[sweep][1],
        y_label=_MEASURES[measure][1],
        curves=drawn,
        x_log=sweep == "age",
        x_ticks=[(x, condition["label"]) for x, condition in zip(at, conditions, strict=True)]
        if sweep == "age"
        else None,
        y_range=(0.0, 1.02 if measure == "accuracy" else 1.05 * max(max(c.y_high or c.y) for c in drawn)),
    )


def _curve(label: str, at: Sequence[float], conditions: Sequence[Mapping[str, Any]], which: str, measure: str) -> Curve:
    spreads = [condition[which][measure] for condition in conditions]
    return Curve(
        label,
        at,
        [spread["mean"] for spread in spreads],
        Mark.LINE_AND_POINTS,
        y_low=[spread["low"] for spread in spreads],
        y_high=[spread["high"] for spread in spreads],
    )
