"""Technology presets: TOML files in which every number has a range and a source.

`load_preset` checks a file once, completely; the rest of `hwmodel` then works with plain, typed numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from hwmodel.converter import EXACT_FLOAT32, Dac
from hwmodel.errors import PresetError
from hwmodel.ledger import Cost
from hwmodel.presets.files import TomlFiles
from hwmodel.presets.technology import (
    Cell,
    Converter,
    Digital,
    ModelNames,
    Name,
    ProgrammingErrorName,
    Quantity,
    Radio,
    Read,
    RelaxationName,
    Section,
    Tile,
    WriteVerify,
    is_structure,
)


class Preset(BaseModel):
    """A technology: frozen, validated numbers; `quantity` tells where each comes from.

    Attributes
    ----------
    name, version
        What receipts and reports name as their energy model.
    models
        Names of the models of programming error and relaxation.
    tile, cell, write_verify, read, converter, digital, radio
        The numbers, in the units that their names end in (us = microsiemens).
    quantities
        ``"section.key"`` to `Quantity`, read-only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: Name
    version: Annotated[str, Field(min_length=1)]
    description: str
    models: ModelNames
    tile: Tile
    cell: Cell
    write_verify: WriteVerify
    read: Read
    converter: Converter
    digital: Digital
    radio: Radio
    quantities: MappingProxyType[str, Quantity]

    SECTIONS: ClassVar[Mapping[str, type[Section]]] = MappingProxyType(
        {
            "tile": Tile,
            "cell": Cell,
            "write_verify": WriteVerify,
            "read": Read,
            "converter": Converter,
            "digital": Digital,
            "radio": Radio,
        }
    )

    def quantity(self, path: str) -> Quantity:
        """Return value, range and source of one number, e.g. ``quantity("converter.adc_j_per_step")``."""
        try:
            return self.quantities[path]
        except KeyError:
            raise PresetError(
                f"preset {self.name} has no number {path!r}; it has: {', '.join(self.quantities)}"
            ) from None

    @property
    def mean_conductance_us(self) -> float:
        """Mean target of a cell, uS, if weights are spread evenly over their range.

        The middle of the window where one cell holds a weight around it; of two differential cells one is there on
        average and the other rests at the low end.
        """
        low, high = self.cell.conductance_min_us, self.cell.conductance_max_us
        middle = (low + high) / 2
        return middle if self.tile.cells_per_weight == 1 else (low + middle) / 2

    def priced(self, energy_j: float = 0.0, seconds: float = 0.0, *, bytes: int = 0, cell_writes: int = 0) -> Cost:
        """Return what a cost formula found; a `PresetSample` has the same for its draws."""
        return Cost(energy_j, seconds, bytes, cell_writes)

    def with_values(self, values: Mapping[str, float]) -> Preset:
        """Return a copy in which some numbers differ, e.g. ``{"cell.programming_sigma_us": 0}``.

        The same checks apply as to a file, so a value outside its published range is refused.
        """
        changed = {path: self.quantity(path).model_dump() | {"value": v} for path, v in values.items()}
        return _build(self._content(changed), where=f"{self.name} with {dict(values)}")

    def with_models(
        self, *, programming_error: ProgrammingErrorName | None = None, relaxation: RelaxationName | None = None
    ) -> Preset:
        """Return a copy with other models of the cell, e.g. ``programming_error="wan-crosssim"``.

        Raises `PresetError` if there is no model of that name.
        """
        names = {"programming_error": programming_error, "relaxation": relaxation}
        chosen = {key: name for key, name in names.items() if name is not None}
        content = self._content({}) | {"models": self.models.model_dump() | chosen}
        return _build(content, where=f"{self.name} with {chosen}")

    # `quantities` is read-only, which neither copying nor pickling knows how to do.
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Preset:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (self._content({}), self.name)

    def _content(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "models": self.models.model_dump(),
        }
        for path, quantity in self.quantities.items():
            section, key = path.split(".")
            content.setdefault(section, {})[key] = changed.get(path, quantity.model_dump())
        return content

    @model_validator(mode="after")
    def _can_be_built(self) -> Preset:
        faults = list(_impossible(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self


_FILES = TomlFiles("preset", PresetError)


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that come with `hwmodel`."""
    return _FILES.names()


def preset_text(name_or_path: str | Path) -> str:
    """Return the TOML of a preset, to start one's own from; found as by `load_preset`."""
    return _FILES.text(name_or_path)


def load_preset(name_or_path: str | Path) -> Preset:
    """Load a preset that comes with `hwmodel` by name, or any other from its file.

    A file is given as a `Path`, or a string that ends in ``.toml``. Raises `PresetError` if there is no such preset, or
    the file is not TOML, lacks or misspells a number, has one without a source or outside its own range, or describes
    something impossible, such as a tile whose partial sums would not be exact. All faults are named at once.
    """
    return _build(_FILES.content(name_or_path), str(name_or_path))


def _build(content: dict[str, Any], where: str) -> Preset:
    faults: dict[str, str] = {}
    quantities: dict[str, Quantity] = {}
    plain = dict(content)
    for section in Preset.SECTIONS:
        table = content.get(section, {})
        if not isinstance(table, dict):
            faults[section] = "must be a table of numbers"
            continue
        values: dict[str, float] = {}
        for key, entry in table.items():
            try:
                quantity = Quantity.model_validate(entry)
            except ValidationError as error:
                for fault in error.errors():
                    faults[_path(section, key, *fault["loc"])] = _told(fault)
                continue
            quantities[f"{section}.{key}"] = quantity
            values[key] = quantity.value
        plain[section] = values
    try:
        preset = Preset.model_validate(plain | {"quantities": MappingProxyType(quantities)})
    except ValidationError as error:
        known = tuple(faults)
        for fault in error.errors():
            path = _path(*fault["loc"])
            # A number that is faulty itself was left out, so it seems to be missing too.
            if not any(told == path or told.startswith(f"{path}.") for told in known):
                faults[path] = _told(fault)
    faults |= _range_faults(quantities)
    if faults:
        lines = (f"{path}: {message}" if path else message for path, message in faults.items())
        raise PresetError(f"preset {where} is not valid:\n  " + "\n  ".join(lines))
    return preset


def _range_faults(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    """Return which ranges hold something that the value itself may not be, such as an ADC that takes 0 s."""
    faults: dict[str, str] = {}
    for name, section in Preset.SECTIONS.items():
        drawn = [
            key for key in section.model_fields if f"{name}.{key}" in quantities and not is_structure(section, key)
        ]
        for end in ("low", "high"):
            try:
                section.model_validate({key: getattr(quantities[f"{name}.{key}"], end) for key in drawn})
            except ValidationError as error:
                for fault in error.errors():
                    if fault["type"] != "missing":
                        faults[_path(name, *fault["loc"], end)] = _told(fault)
    return faults


def _told(fault: ErrorDetails) -> str:
    return fault["msg"].removeprefix("Value error, ")


def _path(*parts: int | str) -> str:
    return ".".join(str(part) for part in parts)


def _impossible(preset: Preset) -> Iterator[str]:
    """Yield what cannot be in a preset whose single numbers are all fine."""
    tile, cell, converter = preset.tile, preset.cell, preset.converter
    levels = {
        "conductance_floor_us": cell.conductance_floor_us,
        "conductance_min_us": cell.conductance_min_us,
        "conductance_max_us": cell.conductance_max_us,
        "conductance_ceiling_us": cell.conductance_ceiling_us,
    }
    if not cell.conductance_min_us < cell.conductance_max_us:
        yield (
            f"cell: conductance_min_us {cell.conductance_min_us} is not below "
            f"conductance_max_us {cell.conductance_max_us}"
        )
    if not cell.conductance_floor_us <= cell.conductance_min_us:
        yield f"cell: conductance_floor_us {cell.conductance_floor_us} is inside the window"
    if not cell.conductance_ceiling_us >= cell.conductance_max_us:
        yield f"cell: conductance_ceiling_us {cell.conductance_ceiling_us} is inside the window"
    levels["middle of the window"] = (cell.conductance_min_us + cell.conductance_max_us) / 2
    for name, level in levels.items():
        steps = level / cell.conductance_grid_us
        if abs(steps - round(steps)) > 1e-9:
            yield (f"cell: {name}, {level} uS, is not a whole number of grid steps of {cell.conductance_grid_us} uS")
    # Their high ends, which draws can meet at once.
    if sum(preset.quantities[f"cell.stuck_{end}_share"].high for end in ("low", "high")) > 1:
        yield "cell: stuck_low_share and stuck_high_share reach up to more than all cells"
    if tile.cells_per_weight == 1 and tile.reference_columns == 0:
        yield "tile: one cell per weight needs reference_columns of at least 1"
    if converter.input_phases not in (1, converter.dac_bits - 1):
        yield (
            f"converter: input_phases is 1 (a multi-bit DAC) or dac_bits - 1 = {converter.dac_bits - 1} "
            f"(bit-serial); got {converter.input_phases}"
        )
    # A weight is the difference of two cells (or of a cell and the reference), of which errors can push one
    # to the floor and the other to the ceiling. A slice has columns and sums of its own.
    span = round((cell.conductance_ceiling_us - cell.conductance_floor_us) / cell.conductance_grid_us)
    largest = tile.rows * Dac(converter.dac_bits).max_code * span
    if largest >= EXACT_FLOAT32:
        yield (
            f"{tile.rows} rows x {converter.dac_bits}-bit codes x {span} levels between floor and ceiling "
            f"sum up to {largest}, which float32 does not hold exactly (limit {EXACT_FLOAT32}): use fewer "
            "rows, a coarser conductance_grid_us or fewer dac_bits"
        )
    room = round((cell.conductance_max_us - cell.conductance_min_us) / cell.conductance_grid_us)
    room //= 3 - tile.cells_per_weight
    if tile.weight_slices > 1 and (1 << tile.bits_per_slice) - 1 > room:
        yield (
            f"tile: a slice of {tile.bits_per_slice} bits has more steps than the {room} levels that a "
            "weight has: use fewer bits_per_slice or a finer conductance_grid_us"
        )
