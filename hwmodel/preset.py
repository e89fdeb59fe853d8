"""Technology presets: TOML files in which every number has a range and a source.

`load_preset` checks a file once, completely; the rest of `hwmodel` then works with plain, typed numbers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwmodel.errors import PresetError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
#: Two bits hold a sign and a step; beyond 16 no partial sum of any tile is exact in float32.
Bits = Annotated[int, Field(ge=2, le=16)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Strict):
    """One number of a preset, the range in which published parts fall, and where it comes from."""

    value: float = Field(allow_inf_nan=False)
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _value_in_range(self) -> Quantity:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value} is outside its own range {self.low} ... {self.high}")
        return self


class Tile(_Strict):
    """Geometry of one array of cells."""

    rows: Count
    columns: Count
    cells_per_weight: Annotated[int, Field(ge=1, le=2)]
    reference_columns: Count


class Cell(_Strict):
    """One ReRAM cell: conductance window and grid, error after write-verify, life."""

    conductance_min_us: NotNegative
    conductance_max_us: Positive
    conductance_grid_us: Positive
    programming_sigma_us: NotNegative
    endurance_cycles: Positive


class WriteVerify(_Strict):
    """How a cell is programmed: pulses until a read falls inside the tolerance."""

    tolerance_us: Positive
    first_pulse_sigma_us: Positive
    max_pulses: Count
    pulse_voltage_v: Positive
    pulse_width_s: Positive
    line_energy_j: NotNegative
    parallel_cells: Count


class Read(_Strict):
    """How the array is read."""

    voltage_v: Positive
    time_s: Positive
    mean_square_drive: Annotated[float, Field(gt=0, le=1)]
    control_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class Converter(_Strict):
    """DACs on the rows, ADCs shared by columns."""

    dac_bits: Bits
    adc_bits: Bits
    dac_j: NotNegative
    adc_j: NotNegative
    tia_j: NotNegative
    adc_s: Positive
    columns_per_adc: Count


class Digital(_Strict):
    """Logic and SRAM beside the array."""

    mac_int8_j: Positive
    mac_fp32_j: Positive
    macs_per_s: Positive
    sram_j_per_byte: Positive
    sram_bytes_per_s: Positive


class Radio(_Strict):
    """The link that adapters come through."""

    j_per_byte: Positive
    bytes_per_s: Positive


class Preset(_Strict):
    """A technology: frozen, validated numbers; `quantity` tells where each comes from.

    Attributes
    ----------
    name, version
        What receipts and reports name as their energy model.
    description
        One line for people.
    tile, cell, write_verify, read, converter, digital, radio
        The numbers, in the units that their names end in.
    quantities
        ``"section.key"`` to `Quantity`, read-only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    description: str
    tile: Tile
    cell: Cell
    write_verify: WriteVerify
    read: Read
    converter: Converter
    digital: Digital
    radio: Radio
    quantities: MappingProxyType[str, Quantity]

    SECTIONS: ClassVar[tuple[str, ...]] = (
        "tile",
        "cell",
        "write_verify",
        "read",
        "converter",
        "digital",
        "radio",
    )

    def quantity(self, path: str) -> Quantity:
        """Return value, range and source of one number, e.g. ``preset.quantity("converter.adc_j")``."""
        try:
            return self.quantities[path]
        except KeyError:
            raise PresetError(
                f"preset {self.name} has no number {path!r}; it has: {', '.join(self.quantities)}"
            ) from None

    def with_values(self, values: Mapping[str, float]) -> Preset:
        """Return a copy in which some numbers differ, e.g. ``{"cell.programming_sigma_us": 0}``.

        The same checks apply as to a file, so a value outside its published range is refused.
        """
        changed = {path: self.quantity(path).model_dump() | {"value": v} for path, v in values.items()}
        content: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
        }
        for path, quantity in self.quantities.items():
            section, key = path.split(".")
            content.setdefault(section, {})[key] = changed.get(path, quantity.model_dump())
        return _build(content, where=f"preset {self.name} with {dict(values)}")

    @model_validator(mode="after")
    def _window_fits_grid(self) -> Preset:
        cell = self.cell
        if not cell.conductance_min_us < cell.conductance_max_us:
            raise ValueError(
                f"cell: conductance_min_us {cell.conductance_min_us} is not below "
                f"conductance_max_us {cell.conductance_max_us}"
            )
        middle = (cell.conductance_min_us + cell.conductance_max_us) / 2
        for name, level in (
            ("min", cell.conductance_min_us),
            ("max", cell.conductance_max_us),
            ("middle", middle),
        ):
            steps = level / cell.conductance_grid_us
            if abs(steps - round(steps)) > 1e-9:
                raise ValueError(
                    f"cell: the {name} of the conductance window, {level} uS, is not a whole number of "
                    f"grid steps of {cell.conductance_grid_us} uS"
                )
        return self


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that come with `hwmodel`."""
    folder = resources.files("hwmodel") / "presets"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_preset(name_or_path: str | Path) -> Preset:
    """Load a preset that comes with `hwmodel` by name, or any other from its file.

    Parameters
    ----------
    name_or_path
        A name out of `preset_names`, a `Path`, or a string that ends in ``.toml``.

    Raises
    ------
    PresetError
        If there is no such preset, or the file is not TOML, lacks or misspells a number, has one without a
        source or outside its own range, or describes something impossible. All faults are named at once.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        where = str(name_or_path)
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except OSError as error:
            raise PresetError(f"cannot read preset {where}: {error.strerror or error}") from error
    else:
        if name_or_path not in preset_names():
            raise PresetError(
                f"no preset {name_or_path!r}; there are: {', '.join(preset_names())}. "
                "For your own, give the path of a .toml file"
            )
        where = f"{name_or_path}.toml"
        text = (resources.files("hwmodel") / "presets" / where).read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PresetError(f"preset {where} is not TOML: {error}") from error
    return _build(content, where)


def _build(content: dict[str, Any], where: str) -> Preset:
    faults: list[str] = []
    quantities: dict[str, Quantity] = {}
    plain = dict(content)
    for section in Preset.SECTIONS:
        table = content.get(section, {})
        if not isinstance(table, dict):
            faults.append(f"{section}: must be a table of numbers")
            continue
        values: dict[str, float] = {}
        for key, entry in table.items():
            try:
                quantity = Quantity.model_validate(entry)
            except ValidationError as error:
                faults += _faults(error, f"{section}.{key}")
                # The section is checked all the same, so that every fault is told in one go.
                quantity = Quantity(value=1, low=1, high=1, source="stand-in")
            quantities[f"{section}.{key}"] = quantity
            values[key] = quantity.value
        plain[section] = values
    try:
        preset = Preset.model_validate(plain | {"quantities": MappingProxyType(quantities)})
    except ValidationError as error:
        faults += _faults(error, "")
    if faults:
        raise PresetError(f"preset {where} is not valid:\n  " + "\n  ".join(faults))
    return preset


def _faults(error: ValidationError, prefix: str) -> list[str]:
    lines = []
    for fault in error.errors():
        path = ".".join(part for part in (prefix, *(str(p) for p in fault["loc"])) if part)
        lines.append(f"{path}: {fault['msg']}" if path else fault["msg"])
    return lines
