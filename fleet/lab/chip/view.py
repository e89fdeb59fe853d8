"""Views of `fleet chip` for people; the documents have the same figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.output import facts, joules, table

Document = Mapping[str, Any]

_DESIGNS = ("analogue", "lora", "digital")


def preset_list_tables(body: Document) -> Iterable[RenderableType]:
    """Return the list of presets."""
    yield table(
        "Technologies",
        ["name", "version", "tile", "cells/weight>", "window", "DAC/ADC", "error, relaxation", "description"],
        (
            (
                preset["name"],
                preset["version"],
                f"{preset['tile']['rows']}x{preset['tile']['columns']}",
                preset["tile"]["cells_per_weight"],
                _window(preset),
                f"{preset['dac_bits']}/{preset['adc_bits']} bit",
                f"{preset['models']['programming_error']}, {preset['models']['relaxation']}",
                preset["description"],
            )
            for preset in body["presets"]
        ),
    )


def preset_tables(body: Document) -> Iterable[RenderableType]:
    """Return a preset, number by number."""
    yield facts(
        f"{body['name']}, version {body['version']}",
        {
            "description": body["description"],
            "programming error": body["models"]["programming_error"],
            "relaxation": body["models"]["relaxation"],
            "window": _window(body),
        },
    )
    yield table(
        "Numbers, in the unit that the name ends in (us = microsiemens); * = structure, never drawn",
        ["number", "value>", "low>", "high>", "source"],
        (
            (
                number["path"] + ("*" if number["structure"] else ""),
                f"{number['value']:.6g}",
                f"{number['low']:.6g}",
                f"{number['high']:.6g}",
                number["source"],
            )
            for number in body["numbers"]
        ),
    )


def report_tables(body: Document) -> Iterable[RenderableType]:
    """Return a chip report: counts, costs, wear and SRAM, the paper's ratios, what cannot follow."""
    yield table(
        f"Networks on {body['preset']['name']}",
        ["network", "weights>", "LoRA>", "MACs>", "LoRA MACs>", "tiles>", "used>", "passes>"],
        (
            (
                network["name"],
                f"{network['crossbar_weights']:,}",
                f"{network['lora_parameters']:,}",
                f"{network['macs']:,}",
                f"{network['lora_macs']:,}",
                f"{network['tiles']:,}",
                f"{network['utilisation']:.1%}",
                network["passes_per_output"],
            )
            for network in body["networks"]
        ),
    )
    for network in body["networks"]:
        yield _costs(body, network["name"])
    yield _room(body)
    for ratio in body["ratios"]["paper_ratios"]:
        yield _ratio_table(ratio, body)
        yield facts(
            "The interpretations", {each["interpretation"]: each["meaning"] for each in ratio["interpretations"]}
        )
    yield _statements(body)
    yield _summary(body)


def fits_tables(body: Document) -> Iterable[RenderableType]:
    """Return model against published fits."""
    yield table(
        f"Programming error of {body['cells']} simulated cells per point against the fit of aihwkit that they "
        f"are drawn from ({body['preset']}); tolerance max(0.35 uS, 15 %)",
        ["age", "largest deviation>", "of the tolerance>", "fits apart>", ""],
        (
            (
                f"{error['age_s']:g} s",
                f"{error['worst_deviation_us']:.3f} uS",
                f"{error['worst_share_of_tolerance']:.0%}",
                None if error["rival_worst_deviation_us"] is None else f"{error['rival_worst_deviation_us']:.2f} uS",
                "holds" if error["worst_share_of_tolerance"] < 1 else "FAILS",
            )
            for error in body["programming_error"]
        ),
    )
    yield table(
        "Write-verify: closed form, and simulated pulse by pulse",
        [*("tolerance>", "pulses>", "simulated>", "not converged>", "simulated>", "per cell>", "simulated>"), ""],
        (
            (
                f"{row['tolerance_us']:g} uS",
                f"{row['expected_pulses']:.2f}",
                f"{row['simulated_pulses']:.2f}",
                f"{row['expected_not_converged_share']:.2%}",
                f"{row['simulated_not_converged_share']:.2%}",
                joules(row["expected_energy_j"]),
                joules(row["simulated_energy_j"]),
                "holds" if row["holds"] else "FAILS",
            )
            for row in body["write_verify"]
        ),
    )


def _window(preset: Document) -> str:
    low, high = preset["window_us"]
    return f"{low:g}-{high:g} uS"


def _costs(body: Document, network: str) -> RenderableType:
    of_design = {each["design"]: each for each in body["designs"] if each["network"] == network}
    rows = []
    for activity in of_design["lora"]["activities"]:
        costs = [of_design[design]["activities"][activity] for design in _DESIGNS]
        rows.append((activity, *(_energy(cost["energy_j"]) for cost in costs)))
        rows.append((" ", *(_time(cost) for cost in costs)))
    return table(
        f"{network}: energy [5 to 95 % of {body['draws']} draws], time, pulses",
        ["", "analogue, all rewritten>", "LoRA in SRAM>", "all digital>"],
        rows,
    )


def _energy(energy_j: Mapping[str, float]) -> str:
    return f"{joules(energy_j['nominal'])} [{joules(energy_j['p5'])} - {joules(energy_j['p95'])}]"


def _time(cost: Document) -> str:
    writes = cost["cell_writes"]["nominal"]
    seconds = f"{cost['seconds']['nominal']:.3g} s"
    return f"{seconds}, {writes:.3g} pulses" if writes else seconds


def _room(body: Document) -> RenderableType:
    return table(
        "Wear and SRAM (adaptations: trained in place; rewrites: write-verified once)",
        ["network", "design", "SRAM to serve>", "to train>", "on the chip>", "fits", "adaptations>", "rewrites>"],
        (
            (
                each["network"],
                each["design"],
                _bytes(each["sram_serving_bytes"]),
                _bytes(each["sram_training_bytes"]),
                _bytes(each["sram_bytes"]),
                _fits(each),
                _left(each["adaptations_left"]),
                _left(each["rewrites_left"]),
            )
            for each in body["designs"]
        ),
    )


def _fits(design: Document) -> str:
    if design["fits_training"]:
        return "yes"
    return "to serve only" if design["fits_serving"] else "no"


def _bytes(count: int) -> str:
    return f"{count / 1024:,.1f} KiB" if count else "-"


def _left(count: float | None) -> str:
    return "unlimited" if count is None else f"{count:,.0f}"


def _ratio_table(ratio: Document, body: Document) -> RenderableType:
    tolerance = body["ratios"]["tolerance"]
    consistent, every = len(ratio["consistent_with"]), len(ratio["interpretations"])
    return table(
        f"{ratio['ratio'].capitalize()}, the paper: up to {ratio['paper']:g}x. "
        f"{consistent} of {every} interpretations are consistent with it",
        [
            *("read as", "network", "nominal>", "median [5 to 95 %]>", f"within {tolerance:.0%}>"),
            *("the paper's figure", "reached alone by"),
        ],
        (
            (
                each["interpretation"],
                each["network"],
                _times(each["nominal"]),
                f"{_times(each['p50'])} [{_times(each['p5'])} - {_times(each['p95'])}]",
                f"{each['share_of_draws_within_tolerance']:.1%}",
                _VERDICTS[each["verdict"]],
                _nearest_numbers(each["sensitivities"]),
            )
            for each in ratio["interpretations"]
        ),
    )


_VERDICTS = {
    "consistent": "consistent with it",
    "unlikely": "unlikely",
    "cannot reach it": "never reached",
    "always above it": "always passed",
}


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _nearest_numbers(sensitivities: Sequence[Document]) -> str:
    """Return the two numbers that reach the figure with the least change, or that none does."""
    reaching = [each for each in sensitivities if each["needed"] is not None]
    reaching.sort(key=lambda each: abs(math.log(each["needed"] / each["value"])) if each["value"] else math.inf)
    found = "; ".join(f"{each['path']} {each['value']:.3g} -> {each['needed']:.3g}" for each in reaching[:2])
    return found or "no number in its range"


def _summary(body: Document) -> RenderableType:
    rows = []
    for ratio in body["ratios"]["paper_ratios"]:
        named = {(each["network"], each["interpretation"]): each for each in ratio["interpretations"]}
        consistent = [named[each["network"], each["interpretation"]] for each in ratio["consistent_with"]]
        nearest = _nearest(consistent[0]) if consistent else ("none", None, None, None)
        rows.append((ratio["ratio"], f"{ratio['paper']:g}", *nearest, max(0, len(consistent) - 1)))
    return table(
        f"In short: what the paper's ratios are consistent with on {body['preset']['name']} (none is proven)",
        ["ratio", "paper>", "nearest interpretation", "nominal>", "draws near>", "reached alone by", "rivals>"],
        rows,
    )


def _nearest(each: Document) -> tuple[str, ...]:
    return (
        f"{each['interpretation']}, {each['network']}",
        _times(each["nominal"]),
        f"{each['share_of_draws_within_tolerance']:.1%}",
        _nearest_numbers(each["sensitivities"]),
    )


def _statements(body: Document) -> RenderableType:
    ratios = body["ratios"]
    lines = ["What cannot follow"]
    lines += [f"  - {sentence}" for sentence in ratios["cannot_follow"]]
    anchored = ratios["anchored_set"]
    lines.append("All three at once (networks of the paper, whatever was asked for)")
    if anchored["values"] is None:
        lines.append("  - no ADC energy, update pulses and pulses per cell inside the ranges here meet all three")
    else:
        values = ", ".join(f"{path} = {value:.3g}" for path, value in anchored["values"].items())
        lines.append(
            f"  - a parameter set consistent with all three: {values} "
            f"({anchored['pulses_per_cell']:.3g} pulses per cell)"
        )
    read_as = (f"{each['ratio']}: {each['interpretation']}, {each['network']}" for each in anchored["interpretations"])
    lines.append(f"    read as {'; '.join(read_as)}")
    lines.append(
        f"  - {anchored['share_of_draws_within_tolerance']:.1%} of the draws come within "
        f"{ratios['tolerance']:.0%} of all three. {anchored['note']}"
    )
    return Text("\n".join(lines))
