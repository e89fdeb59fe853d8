"""Draws of a preset's numbers over their ranges: what Monte Carlo and tornado are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodel.cost.pricing import CostDraws
from hwmodel.errors import SamplingError
from hwmodel.presets.preset import Preset
from hwmodel.presets.technology import Quantity, Tile, is_structure
from hwmodel.streams import keyed_uint16


class SampledSection:
    """The numbers of one section of a sample, under the names that the preset's section has.

    What is structure reads as a plain number, what was drawn as float64 ``[draws]``.
    """

    __slots__ = ("_name", "_numbers")

    def __init__(self, name: str, numbers: Mapping[str, Any]) -> None:
        self._name = name
        self._numbers = MappingProxyType(dict(numbers))

    def __reduce__(self) -> tuple[Any, ...]:
        return SampledSection, (self._name, dict(self._numbers))

    def __getattr__(self, key: str) -> Any:
        # Copying asks for special names before the slots are filled.
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._numbers[key]
        except KeyError:
            raise AttributeError(
                f"section {self._name} of a preset has no number {key!r}; it has: {', '.join(self._numbers)}"
            ) from None


@dataclass(frozen=True, eq=False, slots=True)
class PresetSample:
    """A preset of which every property is an array of draws; a `hwmodel.cost.Technology`.

    Attributes
    ----------
    tile
        Geometry: structure, so the same in every draw.
    cell, write_verify, read, converter, digital, radio
        The numbers, e.g. ``sample.converter.adc_j_per_step``: float64 ``[draws]``, or plain where structure.
    drawn
        ``"section.key"`` to its draws, float64 ``[draws]``, of everything that is not structure.
    """

    preset: Preset
    draws: int
    tile: Tile
    cell: SampledSection
    write_verify: SampledSection
    read: SampledSection
    converter: SampledSection
    digital: SampledSection
    radio: SampledSection
    drawn: Mapping[str, NDArray[np.float64]]

    @property
    def mean_conductance_us(self) -> float:
        """Mean target of a cell, uS; the window is structure."""
        return self.preset.mean_conductance_us

    def priced(self, energy_j: Any = 0.0, seconds: Any = 0.0, *, bytes: int = 0, cell_writes: Any = 0) -> CostDraws:
        """Return what a cost formula found, one entry per draw."""
        return CostDraws(
            energy_j=self._per_draw(energy_j),
            seconds=self._per_draw(seconds),
            bytes=bytes,
            cell_writes=self._per_draw(cell_writes),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _sample, (self.preset, self.draws, dict(self.drawn))

    def _per_draw(self, values: Any) -> NDArray[np.float64]:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), (self.draws,))


def drawn_paths(preset: Preset) -> tuple[str, ...]:
    """Return ``"section.key"`` of every number that is not structure, in the order of the schema."""
    return tuple(
        f"{name}.{key}"
        for name, section in Preset.SECTIONS.items()
        for key in section.model_fields
        if not is_structure(section, key)
    )


def sample_preset(preset: Preset, draws: int, seed: int) -> PresetSample:
    """Draw every property of a preset, independently, over its range.

    The law has two pieces that meet at the nominal value, which so is the median: half of the draws lie log-uniformly
    between low and value, half between value and high; a piece that begins at 0 is uniform. A number's draws depend on
    the seed, the preset's name and the number's own path alone (`keyed_uint16`). Structure (tile, bits, counts, window)
    is not drawn. Raises `SamplingError` if `draws` is below 1.
    """
    if draws < 1:
        raise SamplingError(f"a sample has at least one draw; got {draws}")
    drawn = {}
    for path in drawn_paths(preset):
        uniform = (keyed_uint16(seed, "preset.sample", preset.name, path, count=draws).numpy() + 0.5) / 65536
        drawn[path] = _quantiles(preset.quantity(path), uniform)
    return _sample(preset, draws, drawn)


def sweep_preset(preset: Preset, values: Mapping[str, NDArray[np.float64]]) -> PresetSample:
    """Return a sample in which some properties take the values given and all others stay nominal.

    `values` is ``"section.key"`` to float64 ``[draws]``, inside the number's range; all of one length. Raises
    `SamplingError` if there is nothing to sweep, lengths differ, a path is structure or unknown, or a value is out of
    its range.
    """
    lengths = {len(column) for column in values.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise SamplingError(f"a sweep needs columns of one length, at least 1; got lengths {sorted(lengths)}")
    paths = drawn_paths(preset)
    for path, column in values.items():
        if path not in paths:
            raise SamplingError(f"{path} is not a property of preset {preset.name}; there are: {', '.join(paths)}")
        quantity = preset.quantity(path)
        if not bool(np.all((quantity.low <= column) & (column <= quantity.high))):
            raise SamplingError(f"{path} is swept outside its range {quantity.low} ... {quantity.high}")
    draws = lengths.pop()
    drawn = {
        path: np.array(values[path], dtype=np.float64)
        if path in values
        else np.full(draws, preset.quantity(path).value)
        for path in paths
    }
    return _sample(preset, draws, drawn)


def _quantiles(quantity: Quantity, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    lower = _between(quantity.low, quantity.value, 2 * uniform)
    upper = _between(quantity.value, quantity.high, 2 * uniform - 1)
    return np.where(uniform < 0.5, lower, upper)


def _between(start: float, end: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(share, 0.0, 1.0)
    if start <= 0:
        return start + (end - start) * share
    # Rounding of the power must not carry a draw out of its range.
    return np.clip(start * (end / start) ** share, start, end)


def _sample(preset: Preset, draws: int, drawn: dict[str, NDArray[np.float64]]) -> PresetSample:
    for values in drawn.values():
        values.setflags(write=False)
    sections = {
        name: SampledSection(
            name, {key: drawn.get(f"{name}.{key}", getattr(getattr(preset, name), key)) for key in section.model_fields}
        )
        for name, section in Preset.SECTIONS.items()
        if name != "tile"
    }
    return PresetSample(preset=preset, draws=draws, tile=preset.tile, drawn=MappingProxyType(drawn), **sections)
