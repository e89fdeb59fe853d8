"""Report on restored chips as JSON and for people, with what follows from its figures in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.output import counted, facts, joules, table
from fleet.documents import Document, document
from fleet.lab.chip.calibration.experiment import Quality, RestoredChips, RestoreReport
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
            "layers": settings.corrected,
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


def _findings(conditions: Sequence[Document], corrected: str) -> list[str]:
    short = [c for c in conditions if not c["back"]]
    findings = []
    if short:
        names = ", ".join(f"{c['sweep']} {c['label']} ({c['restored']['accuracy']['mean']:.3f})" for c in short)
        findings.append(
            f"not brought back to within {100 * BACK_WITHIN:g} points of a chip without errors: {names}. "
            "Try a higher --rank" + (", or --layers all" if corrected == "paper" else "")
        )
    without, with_lora = (conditions[0][name]["energy_j"] for name in ("inference", "restored_inference"))
    if with_lora > 2 * without:
        findings.append(
            f"the LoRA takes more energy than the crossbars that it corrects: the products of one input take "
            f"{with_lora / without:.1f} times as much with it. A lower --rank"
            + (", or --layers paper, takes less" if corrected == "all" else " takes less")
        )
    worse = [c for c in conditions if c["restored"]["feature_error"]["mean"] > c["chip"]["feature_error"]["mean"]]
    if worse:
        names = ", ".join(f"{c['sweep']} {c['label']}" for c in worse)
        findings.append(f"the LoRA made features worse in: {names}. It has too few inputs to be fitted on")
    return findings


def restore_tables(body: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Return what was tried, the chips of every condition, and what to make of them."""
    lora, ideal = body["lora"], body["ideal_chip"]
    fits = "fits" if lora["fits_sram"] else "does NOT fit"
    first = body["conditions"][0]
    yield facts(
        f"{body['network']['name']} on {body['preset']['name']}, {counted(body['chips'], 'chip')} per condition",
        {
            "data": body["data"]["title"],
            "accuracy of the network": f"{body['network']['accuracy']:.3f}; on a chip without errors "
            f"{ideal['accuracy']['mean']:.3f}",
            "calibration LoRA": f"rank {lora['rank']}, {lora['layers']} layers, {lora['storage']}: "
            f"{lora['parameters']:,} numbers, {100 * lora['share_of_weights']:.1f} % of the weights",
            "SRAM": f"{lora['sram_bytes']:,} bytes, {fits} into {lora['sram_bytes_of_preset']:,}",
            "energy to fit": f"{joules(first['fit']['energy_j'])} per chip",
            "energy of one input": f"{joules(first['inference']['energy_j'])}, with the LoRA "
            f"{joules(first['restored_inference']['energy_j'])} (products only)",
        },
    )
    yield table(
        "Held-out accuracy and feature error, mean over chips (worst to best)",
        ["sweep", "condition>", "accuracy: chip>", "with LoRA>", "of the loss>", "features: chip>", "with LoRA>"]
        + (["LoRA of the first age>"] if any(c["kept"] for c in body["conditions"]) else []),
        (_row(condition) for condition in body["conditions"]),
    )
    for note in body["notes"]:
        yield Text(f"Note: {note}.")


def _row(condition: Mapping[str, Any]) -> tuple[str, ...]:
    share = condition["share_of_loss_restored"]
    chip, restored, kept = (condition[name] for name in ("chip", "restored", "kept"))
    cells = (
        condition["sweep"],
        condition["label"],
        _accuracy(chip),
        _accuracy(restored),
        "" if share is None else f"{100 * share:.0f} %",
        f"{chip['feature_error']['mean']:.3f}",
        f"{restored['feature_error']['mean']:.3f}",
    )
    return cells if kept is None else (*cells, _accuracy(kept))


def _accuracy(quality: Mapping[str, Any]) -> str:
    spread = quality["accuracy"]
    return f"{spread['mean']:.3f} ({spread['low']:.3f} to {spread['high']:.3f})"
