"""View of `fleet chip restore` for people; the document has the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.output import counted, facts, joules, table


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
