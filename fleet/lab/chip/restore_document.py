"""The report on restored chips as JSON, with what follows from its figures in words."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.documents import Document, document
from fleet.lab.chip.restore import Quality, RestoredChips, RestoreReport
from fleet.lab.chip.restore_settings import Corrected
from hwmodel import Cost

#: A chip counts as brought back if its accuracy is at most this far below that of a chip without errors.
BACK_WITHIN = 0.02
#: Less lost accuracy than this is too little to say what share of it came back.
_WORTH_RESTORING = 0.02


def restore_document(report: RestoreReport) -> Document:
    """Return the whole report; accuracies and errors are means over chips with their extremes."""
    settings = report.settings
    conditions = [_condition(chips, report) for chips in report.conditions]
    sram = int(settings.preset.digital.sram_bytes)
    return document(
        "ChipRestore",
        network={
            "name": settings.network,
            "crossbar_weights": report.network_weights,
            "accuracy": report.network.accuracy[0],
        },
        preset={"name": settings.preset.name, "version": settings.preset.version},
        data={"title": report.data, "fit_inputs": report.fit_inputs, "held_out": report.held_out},
        seed=settings.seed,
        chips=settings.chips,
        ideal_chip=_quality(report.ideal),
        lora={
            "rank": settings.rank,
            "layers": settings.corrected.value,
            "storage": settings.storage.value,
            "parameters": report.lora_parameters,
            "share_of_weights": report.lora_parameters / report.network_weights,
            "sram_bytes": report.sram_bytes,
            "sram_bytes_of_preset": sram,
            "fits_sram": report.sram_bytes <= sram,
        },
        conditions=conditions,
        notes=[*report.notes, *_findings(conditions, settings.corrected)],
    )


def _condition(chips: RestoredChips, report: RestoreReport) -> Document:
    before, after = _mean(chips.chip.accuracy), _mean(chips.restored.accuracy)
    ideal = _mean(report.ideal.accuracy)
    lost = ideal - before
    return {
        "sweep": chips.condition.sweep.value,
        "label": chips.condition.label,
        "value": chips.condition.value,
        "age_s": chips.condition.age_s,
        "chip": _quality(chips.chip),
        "restored": _quality(chips.restored),
        "kept": None if chips.kept is None else _quality(chips.kept),
        "share_of_loss_restored": (after - before) / lost if lost >= _WORTH_RESTORING else None,
        "back": ideal - after <= BACK_WITHIN,
        "fit": _cost(chips.fit),
        "inference": _cost(chips.inference),
        "restored_inference": _cost(chips.restored_inference),
    }


def _quality(quality: Quality) -> Document:
    return {"accuracy": _spread(quality.accuracy), "feature_error": _spread(quality.feature_error)}


def _spread(values: tuple[float, ...]) -> Document:
    return {"mean": _mean(values), "low": min(values), "high": max(values), "chips": list(values)}


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _cost(cost: Cost) -> Document:
    return {"energy_j": cost.energy_j, "seconds": cost.seconds}


def _findings(conditions: Sequence[Document], corrected: Corrected) -> list[str]:
    short = [c for c in conditions if not c["back"]]
    findings = []
    if short:
        names = ", ".join(f"{c['sweep']} {c['label']} ({c['restored']['accuracy']['mean']:.3f})" for c in short)
        findings.append(
            f"not brought back to within {100 * BACK_WITHIN:g} points of a chip without errors: {names}. "
            "Try a higher --rank" + (", or --layers all" if corrected is Corrected.PAPER else "")
        )
    without, with_lora = (conditions[0][name]["energy_j"] for name in ("inference", "restored_inference"))
    if with_lora > 2 * without:
        findings.append(
            f"the LoRA takes more energy than the crossbars that it corrects: the products of one input take "
            f"{with_lora / without:.1f} times as much with it. A lower --rank"
            + (", or --layers paper, takes less" if corrected is Corrected.ALL else " takes less")
        )
    worse = [c for c in conditions if c["restored"]["feature_error"]["mean"] > c["chip"]["feature_error"]["mean"]]
    if worse:
        names = ", ".join(f"{c['sweep']} {c['label']}" for c in worse)
        findings.append(f"the LoRA made features worse in: {names}. It has too few inputs to be fitted on")
    return findings
