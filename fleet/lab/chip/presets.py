"""Presets as documents: what `fleet chip presets` and `fleet chip show` print."""

from __future__ import annotations

import hwmodel
from fleet.documents import Document, document
from hwmodel.presets.technology import is_structure


def preset_list_document() -> Document:
    """Return every preset that comes with `hwmodel`, in short."""
    presets = [hwmodel.load_preset(name) for name in hwmodel.preset_names()]
    return document("ChipPresetList", presets=[_summary(preset) for preset in presets])


def preset_document(preset: hwmodel.Preset) -> Document:
    """Return a preset with every number, its range and source.

    ``structure`` marks a designer's choice (counts, bits, window): only the other numbers are drawn.
    """
    numbers = []
    for path, quantity in preset.quantities.items():
        section, key = path.split(".")
        structure = is_structure(preset.SECTIONS[section], key)
        numbers.append({"path": path, **quantity.model_dump(), "structure": structure})
    return document("ChipPreset", **_summary(preset), numbers=numbers)


def _summary(preset: hwmodel.Preset) -> Document:
    tile, cell, converter = preset.tile, preset.cell, preset.converter
    return {
        "name": preset.name,
        "version": preset.version,
        "description": preset.description,
        "tile": {
            "rows": tile.rows,
            "columns": tile.columns,
            "cells_per_weight": tile.cells_per_weight,
            "weight_slices": tile.weight_slices,
        },
        "window_us": [cell.conductance_min_us, cell.conductance_max_us],
        "dac_bits": converter.dac_bits,
        "adc_bits": converter.adc_bits,
        "models": preset.models.model_dump(),
    }
