"""Energy, time and wear of each operation, in closed form.

Symbols: a layer has n inputs and m outputs, k cells per weight in s slices, on tiles of R rows and C columns,
with inputs in P phases of which a share rho is not zero. The formulas count work; all physical numbers, and
their sources, are in the preset. Time is of one node, operations in sequence; what runs in parallel on the
chip is said where it does. Each function takes a `Preset` and returns a `Cost`, or a `PresetSample` and
returns `CostDraws`.

The forms are those of NeuroSim, ISAAC and AccelForge, simplified to what a preset can name: area, data-
dependent activity and routing are not in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, overload

import numpy as np

from hwmodel.converter import conversion_j
from hwmodel.cost.pricing import AnyCost, CostDraws, Reals, Technology
from hwmodel.device import mean_pulses
from hwmodel.errors import CostError
from hwmodel.ledger import Cost

#: Bytes of one programming target on its way to the chip: 961 levels need 10 bits.
BYTES_PER_TARGET = 2


class Precision(StrEnum):
    """Number format of digital arithmetic."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


@dataclass(frozen=True, eq=False, slots=True)
class MvmEnergy:
    """Energy of products with a crossbar by part, J, each with its share of control.

    Attributes
    ----------
    array_j, dac_j, adc_j
        Cells, row drivers, and converters with their amplifiers: floats, or float64 ``[draws]``.
    """

    array_j: Any
    dac_j: Any
    adc_j: Any

    @property
    def total_j(self) -> Any:
        """Sum of the parts."""
        return self.array_j + self.dac_j + self.adc_j


def crossbar_cells(technology: Technology[AnyCost], inputs: int, outputs: int) -> int:
    """Return the cells that an n x m layer takes: ``k s n m``, plus the tiles' reference columns if k = 1."""
    _not_negative(inputs=inputs, outputs=outputs)
    tile = technology.tile
    columns = outputs * tile.weight_slices
    if tile.cells_per_weight == 1:
        return inputs * (columns + _ceil(columns, tile.columns) * tile.reference_columns)
    return tile.cells_per_weight * inputs * columns


def crossbar_mvm_energy(
    technology: Technology[AnyCost],
    inputs: int,
    outputs: int,
    vectors: int = 1,
    *,
    input_density: float = 1.0,
) -> MvmEnergy:
    """Return the energy of multiplying `vectors` vectors by an n x m layer, by part.

    ``E = c_ctrl [P rho (cells a V_r^2 G t_r + ceil(k s m / C) n E_dac) + s m ceil(n / R) (E_adc + P E_tia)]``
    with the mean-square drive a and the mean conductance G. An ADC sees the difference of a column and its
    reference or partner, so there are s m conversions per row tile; what the phases give is gathered as
    charge and converted once, as in NeuRRAM. A phase of a bit-serial input drives rows with one of three
    levels: a DAC of 2 bits.

    Parameters
    ----------
    technology
        A preset or a sample.
    inputs, outputs, vectors
        Size and number of the products.
    input_density
        Share rho of inputs that are not zero: rows at zero are not driven.

    Raises
    ------
    CostError
        If an amount is negative, or the density is outside 0 ... 1.
    """
    _not_negative(vectors=vectors)
    if not 0 <= input_density <= 1:
        raise CostError(f"input_density is a share, 0 ... 1; got {input_density}")
    tile, converter = technology.tile, technology.converter
    phases, columns = converter.input_phases, outputs * tile.weight_slices
    drives = phases * input_density
    read_j = technology.read.voltage_v**2 * technology.mean_conductance_us * 1e-6 * technology.read.time_s
    array_j = drives * crossbar_cells(technology, inputs, outputs) * read_j
    bits = converter.dac_bits if phases == 1 else 2
    dac_j = conversion_j(converter.dac_j_per_step, bits)
    dacs = _ceil(tile.cells_per_weight * columns, tile.columns) * inputs
    adc_j = conversion_j(converter.adc_j_per_step, converter.adc_bits) + phases * converter.tia_j
    factor = technology.read.control_factor * vectors
    return MvmEnergy(
        array_j=factor * technology.read.mean_square_drive * array_j,
        dac_j=factor * drives * dacs * dac_j,
        adc_j=factor * columns * _ceil(inputs, tile.rows) * adc_j,
    )


def crossbar_mvm(
    technology: Technology[AnyCost],
    inputs: int,
    outputs: int,
    vectors: int = 1,
    *,
    input_density: float = 1.0,
) -> AnyCost:
    """Return the cost of multiplying `vectors` vectors by an n x m layer.

    Energy as in `crossbar_mvm_energy`; ``t = P t_r + min(share, s m, C) t_adc``: tiles work in parallel,
    vectors in sequence.

    Raises
    ------
    CostError
        As for `crossbar_mvm_energy`.
    """
    _not_negative(vectors=vectors)
    energy = crossbar_mvm_energy(technology, inputs, outputs, input_density=input_density)
    tile, converter = technology.tile, technology.converter
    turns = min(converter.columns_per_adc, outputs * tile.weight_slices, tile.columns)
    seconds = converter.input_phases * technology.read.time_s + turns * converter.adc_s
    return technology.priced(energy.total_j * vectors, seconds * vectors)


def program_cells(technology: Technology[AnyCost], cells: int) -> AnyCost:
    """Return the cost of write-verifying `cells` cells.

    Each of the ``n(tol)`` pulses (`hwmodel.mean_pulses`, with the preset's share of stuck cells) costs
    ``V_p^2 G t_p + E_line`` and a verify read ``V_r^2 G t_r + E_adc + E_tia``, and takes
    ``(t_p + t_r + t_adc) / parallel``. Every pulse is a cell write.
    """
    _not_negative(cells=cells)
    return _pulses(technology, cells * _mean_pulses(technology))


def program_weights(technology: Technology[AnyCost], weights: int) -> AnyCost:
    """Return the cost of write-verifying `weights` single weights (k s cells each, no reference cells)."""
    return program_cells(technology, _cells_of(technology, weights))


def update_cells(technology: Technology[AnyCost], cells: int, steps: int = 1) -> AnyCost:
    """Return the cost of moving `cells` cells in place, as each step of in-situ training does.

    ``n_u`` pulses per cell and step (`update_pulses`), each with its read, at the price of `program_cells`.
    """
    _not_negative(cells=cells, steps=steps)
    return _pulses(technology, cells * steps * technology.write_verify.update_pulses)


def update_weights(technology: Technology[AnyCost], weights: int, steps: int = 1) -> AnyCost:
    """Return the cost of `update_cells` for single weights (k s cells each, no reference cells)."""
    return update_cells(technology, _cells_of(technology, weights), steps)


@overload
def adaptations_left(
    technology: Technology[Cost], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> int: ...
@overload
def adaptations_left(
    technology: Technology[CostDraws], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> Reals: ...
def adaptations_left(
    technology: Technology[Any], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> int | Reals:
    """Return how often the weights of a chip can still change before a mean cell is worn out.

    ``floor((endurance - spent) / pulses)``, never below zero.

    Parameters
    ----------
    technology
        A preset or a sample.
    steps
        Steps of in-situ training per adaptation, of ``n_u`` pulses each; if None, an adaptation is one
        write-verify of ready-made weights, of ``n(tol)`` pulses.
    pulses_spent_per_cell
        Pulses that the cells have had before.

    Returns
    -------
    int or array
        float64 ``[draws]``, whole numbers, for a sample.

    Raises
    ------
    CostError
        If `steps` is below 1 or the spent pulses are negative.
    """
    if steps is not None and steps < 1:
        raise CostError(f"an adaptation takes at least one step; got {steps}")
    if not pulses_spent_per_cell >= 0:
        raise CostError(f"pulses_spent_per_cell must not be negative; got {pulses_spent_per_cell}")
    pulses = _mean_pulses(technology) if steps is None else steps * technology.write_verify.update_pulses
    left: float | Reals = (technology.cell.endurance_cycles - pulses_spent_per_cell) / pulses
    if isinstance(left, np.ndarray):
        return np.maximum(0.0, np.floor(left))
    return max(0, math.floor(left))


def digital_macs(technology: Technology[AnyCost], macs: float, precision: Precision) -> AnyCost:
    """Return the cost of multiply-accumulates on operands already at hand (memory is charged apart).

    A mean count, as of an input that is sparse, may be a fraction.
    """
    _not_negative(macs=macs)
    digital = technology.digital
    mac_j = {
        Precision.INT8: digital.mac_int8_j,
        Precision.FP16: digital.mac_fp16_j,
        Precision.FP32: digital.mac_fp32_j,
    }[Precision(precision)]
    return technology.priced(macs * mac_j, macs / digital.macs_per_s)


def sram_read(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of reading bytes from SRAM."""
    _not_negative(byte_count=byte_count)
    digital = technology.digital
    return technology.priced(
        byte_count * digital.sram_j_per_byte, byte_count / digital.sram_bytes_per_s, bytes=byte_count
    )


def sram_write(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of writing bytes to SRAM: the same as reading them."""
    return sram_read(technology, byte_count)


def dram_read(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of fetching bytes from the DRAM off the chip."""
    _not_negative(byte_count=byte_count)
    digital = technology.digital
    return technology.priced(
        byte_count * digital.dram_j_per_byte, byte_count / digital.dram_bytes_per_s, bytes=byte_count
    )


def erase(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of erasing bytes of SRAM: overwriting them once."""
    return sram_write(technology, byte_count)


def radio(technology: Technology[AnyCost], byte_count: int) -> AnyCost:
    """Return the cost of sending or receiving bytes."""
    _not_negative(byte_count=byte_count)
    link = technology.radio
    return technology.priced(byte_count * link.j_per_byte, byte_count / link.bytes_per_s, bytes=byte_count)


def deploy(
    technology: Technology[AnyCost], byte_count: int, *, over_radio: bool, from_dram: bool = False
) -> AnyCost:
    """Return the cost of making an adapter of so many bytes active: into SRAM, no cell is written.

    Parameters
    ----------
    technology
        A preset or a sample.
    byte_count
        Size of the adapter; `Cost.bytes` counts it once, whatever way it took.
    over_radio
        Whether it is received first.
    from_dram
        Whether it is fetched from the DRAM off the chip.
    """
    _not_negative(byte_count=byte_count)
    digital, link = technology.digital, technology.radio
    energy_j = byte_count * digital.sram_j_per_byte
    seconds = byte_count / digital.sram_bytes_per_s
    if over_radio:
        energy_j = energy_j + byte_count * link.j_per_byte
        seconds = seconds + byte_count / link.bytes_per_s
    if from_dram:
        energy_j = energy_j + byte_count * digital.dram_j_per_byte
        seconds = seconds + byte_count / digital.dram_bytes_per_s
    return technology.priced(energy_j, seconds, bytes=byte_count)


def lora_forward(
    technology: Technology[AnyCost],
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    precision: Precision = Precision.FP32,
    bytes_per_parameter: int = 4,
) -> AnyCost:
    """Return the cost of ``B (A x)`` for `samples` inputs: ``r (n + m)`` MACs each, factors fetched once."""
    _not_negative(inputs=inputs, outputs=outputs, rank=rank, samples=samples)
    parameters = rank * (inputs + outputs)
    arithmetic = digital_macs(technology, samples * parameters, precision)
    return arithmetic + sram_read(technology, parameters * bytes_per_parameter) if samples else arithmetic


def lora_update(
    technology: Technology[AnyCost],
    parameters: int,
    *,
    steps: int = 1,
    bytes_per_parameter: int = 4,
    accesses_per_parameter: int = 2,
) -> AnyCost:
    """Return the cost of changing trained parameters in SRAM: what `update_weights` is compared with.

    Each is accessed `accesses_per_parameter` times per step: 2 for SGD (read and write), 6 for Adam.
    """
    _not_negative(parameters=parameters, steps=steps)
    return sram_read(technology, parameters * steps * bytes_per_parameter * accesses_per_parameter)


def lora_training_step(
    technology: Technology[AnyCost],
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    train_a: bool,
    bytes_per_parameter: int = 4,
    accesses_per_parameter: int = 2,
) -> AnyCost:
    """Return the cost of one step of gradient training of a LoRA on an output layer, fp32.

    Forward ``r (n + m)`` MACs per sample; backward ``r m`` for the gradient of B and, if A is trained too,
    ``r m`` to reach it and ``r n`` for its own. Inputs are read once, trained parameters as in `lora_update`.
    The frozen network in front is not in it: its features are captured, so no gradient crosses it.
    """
    forward = lora_forward(
        technology,
        inputs=inputs,
        outputs=outputs,
        rank=rank,
        samples=samples,
        bytes_per_parameter=bytes_per_parameter,
    )
    backward_macs = rank * outputs + (rank * (inputs + outputs) if train_a else 0)
    trained = rank * outputs + (rank * inputs if train_a else 0)
    moved = samples * inputs * bytes_per_parameter + trained * bytes_per_parameter * accesses_per_parameter
    arithmetic = digital_macs(technology, samples * backward_macs, Precision.FP32)
    return forward + arithmetic + sram_read(technology, moved)


def _pulses(technology: Technology[AnyCost], pulses: Any) -> AnyCost:
    """Price pulses, each with its read; a mean number of them is rounded to whole ones.

    In the order of `hwmodel.expected_write_verify`, so that both agree to the last bit.
    """
    pulses = np.rint(pulses) if isinstance(pulses, np.ndarray) else round(pulses)
    programming, read, converter = technology.write_verify, technology.read, technology.converter
    j_per_siemens = (
        programming.pulse_voltage_v**2 * programming.pulse_width_s + read.voltage_v**2 * read.time_s
    )
    adc_j = conversion_j(converter.adc_j_per_step, converter.adc_bits)
    j_per_pulse = programming.line_energy_j + adc_j + converter.tia_j
    energy_j = pulses * j_per_pulse + pulses * technology.mean_conductance_us * 1e-6 * j_per_siemens
    step_s = programming.pulse_width_s + read.time_s + converter.adc_s
    return technology.priced(energy_j, pulses * step_s / programming.parallel_cells, cell_writes=pulses)


def _mean_pulses(technology: Technology[AnyCost]) -> Any:
    programming, cell = technology.write_verify, technology.cell
    return mean_pulses(
        programming.tolerance_us,
        programming.first_pulse_sigma_us,
        programming.max_pulses,
        cell.stuck_low_share + cell.stuck_high_share,
    )


def _cells_of(technology: Technology[AnyCost], weights: int) -> int:
    _not_negative(weights=weights)
    return weights * technology.tile.cells_per_weight * technology.tile.weight_slices


def _ceil(amount: int, per: int) -> int:
    return -(-amount // per)


def _not_negative(**amounts: float) -> None:
    for name, amount in amounts.items():
        if not amount >= 0:
            raise CostError(f"{name} must not be negative; got {amount}")
