"""The numbers of a technology, section by section: what a preset file must hold.

A number is either *structure* (geometry, bits, counts, the conductance window), which a designer chooses and no
experiment leaves open, or a *property* that published parts scatter in: only properties are drawn by
`hwmodel.sample_preset`. `is_structure` tells which.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

STRUCTURE = "structure"

#: Names go into the names of files and onto plots, which read `$` as mathematics.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1), STRUCTURE]
CountOrZero = Annotated[int, Field(ge=0), STRUCTURE]
#: Two bits hold a sign and a step; beyond 16 no partial sum of any tile is exact in float32.
Bits = Annotated[int, Field(ge=2, le=16), STRUCTURE]
Level = Annotated[float, Field(ge=0, allow_inf_nan=False), STRUCTURE]

ProgrammingErrorName = Literal["constant", "wan-aihwkit", "wan-crosssim", "milo", "cmo-0.2%", "cmo-2%"]
RelaxationName = Literal["none", "wan", "cmo"]


class Section(BaseModel):
    """Base of the tables of a preset or network file: frozen, and names that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(Section):
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


class ModelNames(Section):
    """Names of the published models of the cell that apply; `hwmodel.device` has them.

    Attributes
    ----------
    programming_error
        ``constant`` uses `Cell.programming_sigma_us`; the others are fits over their own conductance range.
    relaxation
        What happens to cells after the first second.
    """

    programming_error: ProgrammingErrorName
    relaxation: RelaxationName


class Tile(Section):
    """Geometry of one array of cells.

    `reference_columns` are averaged and serve offset-mapped weights (`cells_per_weight` = 1); differential ones have
    none. With `weight_slices` > 1 a weight is that many digits of `bits_per_slice`, each with columns and conversions
    of its own.
    """

    rows: Count
    columns: Count
    cells_per_weight: Annotated[int, Field(ge=1, le=2), STRUCTURE]
    reference_columns: CountOrZero
    weight_slices: Count
    bits_per_slice: Count


class Cell(Section):
    """One ReRAM cell: window of targets, grid, physical limits, errors, life.

    Targets lie in `conductance_min_us` ... `conductance_max_us`; errors and relaxation may carry a cell out to
    `conductance_floor_us` and `conductance_ceiling_us`, where it is clipped. `read_noise_us` is the standard deviation
    of a cell at one read; the stuck shares are of all cells, at either end of the window.
    """

    conductance_min_us: Level
    conductance_max_us: Level
    conductance_grid_us: Annotated[float, Field(gt=0, allow_inf_nan=False), STRUCTURE]
    conductance_floor_us: Level
    conductance_ceiling_us: Level
    programming_sigma_us: NotNegative
    read_noise_us: NotNegative
    stuck_low_share: Share
    stuck_high_share: Share
    endurance_cycles: Positive


class WriteVerify(Section):
    """Programming of a cell: pulses until a read falls inside the tolerance.

    `update_pulses` is what one step of in-situ training gives a cell, each pulse with its read.
    """

    tolerance_us: Positive
    first_pulse_sigma_us: Positive
    max_pulses: Count
    update_pulses: Positive
    pulse_voltage_v: Positive
    pulse_width_s: Positive
    line_energy_j: NotNegative
    parallel_cells: Count


class Read(Section):
    """Read-out of the array.

    `time_s` is of one input phase, `mean_square_drive` the mean (V / V_max)^2 of a driven row in it,
    `wire_resistance_ohm` that of a bit line from one cell to the next. `control_factor` multiplies array and converters
    by what decoders, clock, wires and the adders of partial sums take.
    """

    voltage_v: Positive
    time_s: Positive
    mean_square_drive: Annotated[float, Field(gt=0, le=1)]
    wire_resistance_ohm: NotNegative
    control_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class Converter(Section):
    """DACs on the rows, ADCs shared by columns.

    `input_phases` is 1 (a multi-bit DAC) or ``dac_bits - 1`` (bit-serial: one plane of magnitude bits per phase, with
    their sign). An energy per step is a Walden figure of merit: `hwmodel.cost.conversion_j`.
    """

    dac_bits: Bits
    adc_bits: Bits
    input_phases: Count
    dac_j_per_step: NotNegative
    adc_j_per_step: NotNegative
    tia_j: NotNegative
    adc_s: Positive
    columns_per_adc: Count


class Digital(Section):
    """Logic and memory beside the array: `sram_bytes` on the chip, DRAM off it."""

    mac_int8_j: Positive
    mac_fp16_j: Positive
    mac_fp32_j: Positive
    macs_per_s: Positive
    sram_j_per_byte: Positive
    sram_bytes_per_s: Positive
    sram_bytes: Count
    dram_j_per_byte: Positive
    dram_bytes_per_s: Positive


class Radio(Section):
    """The link that adapters come through."""

    j_per_byte: Positive
    bytes_per_s: Positive


class Numbers(Protocol):
    """Sections of a `Preset`, whose numbers are floats, or of a `PresetSample`: float64 ``[draws]``, structure plain.

    So a formula written once over ``numbers.read.voltage_v`` serves both.
    """

    @property
    def tile(self) -> Tile:
        """Geometry; the same in every draw."""

    @property
    def cell(self) -> Any:
        """Numbers of `Cell`."""

    @property
    def write_verify(self) -> Any:
        """Numbers of `WriteVerify`."""

    @property
    def read(self) -> Any:
        """Numbers of `Read`."""

    @property
    def converter(self) -> Any:
        """Numbers of `Converter`."""

    @property
    def digital(self) -> Any:
        """Numbers of `Digital`."""

    @property
    def radio(self) -> Any:
        """Numbers of `Radio`."""

    @property
    def mean_conductance_us(self) -> float:
        """Mean target of a cell, uS; the same in every draw."""


def is_structure(section: type[Section], key: str) -> bool:
    """Return whether a number is a designer's choice (counts, bits, window) rather than a property."""
    return STRUCTURE in section.model_fields[key].metadata
