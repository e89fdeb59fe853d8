"""Energy, time and wear of each operation, in closed form.

Symbols: a layer has n inputs and m outputs, k cells per weight, on tiles of R rows and C columns. The
formulas count work; all physical numbers, and their sources, are in the preset. Time is of one node,
operations in sequence; what runs in parallel on the chip is said where it does.
"""

from __future__ import annotations

from enum import StrEnum

from hwmodel.device import ConductanceWindow, programming_pulses
from hwmodel.errors import CostError
from hwmodel.ledger import Cost
from hwmodel.preset import Preset

#: Bytes of one programming target on its way to the chip: 961 levels need 10 bits.
BYTES_PER_TARGET = 2


class Precision(StrEnum):
    """Number format of digital arithmetic."""

    INT8 = "int8"
    FP32 = "fp32"


def crossbar_cells(preset: Preset, inputs: int, outputs: int) -> int:
    """Return the cells that an n x m layer takes: ``k n m``, plus the tiles' reference columns if k = 1."""
    _not_negative(inputs=inputs, outputs=outputs)
    tile = preset.tile
    if tile.cells_per_weight == 1:
        return inputs * (outputs + _ceil(outputs, tile.columns) * tile.reference_columns)
    return tile.cells_per_weight * inputs * outputs


def crossbar_mvm(preset: Preset, inputs: int, outputs: int, vectors: int = 1) -> Cost:
    """Return the cost of multiplying `vectors` vectors by an n x m layer.

    ``E = c_ctrl [cells a V_r^2 G_mid t_r + ceil(k m / C) n E_dac + m ceil(n / R) (E_adc + E_tia)]`` with the
    mean-square drive a: an ADC sees the difference of a column and its reference, so there are m conversions
    per row tile. ``t = t_r + min(share, m, C) t_adc``: tiles work in parallel, vectors in sequence.
    """
    _not_negative(vectors=vectors)
    tile, read, converter = preset.tile, preset.read, preset.converter
    array_j = crossbar_cells(preset, inputs, outputs) * read.mean_square_drive * _read_pulse_j(preset)
    dac_j = _ceil(tile.cells_per_weight * outputs, tile.columns) * inputs * converter.dac_j
    adc_j = outputs * _ceil(inputs, tile.rows) * (converter.adc_j + converter.tia_j)
    seconds = read.time_s + min(converter.columns_per_adc, outputs, tile.columns) * converter.adc_s
    return Cost(energy_j=read.control_factor * (array_j + dac_j + adc_j) * vectors, seconds=seconds * vectors)


def program_cells(preset: Preset, cells: int) -> Cost:
    """Return the cost of write-verifying `cells` cells.

    Each of the ``n(tol)`` pulses (`pulses_per_cell`) costs ``V_p^2 G_mid t_p + E_line`` and a verify read
    ``V_r^2 G_mid t_r + E_adc + E_tia``, and takes ``(t_p + t_r + t_adc) / parallel``. Every pulse is a cell
    write.
    """
    _not_negative(cells=cells)
    programming, converter = preset.write_verify, preset.converter
    pulses = programming_pulses(preset, cells)
    pulse_j = (
        programming.pulse_voltage_v**2 * _mid_s(preset) * programming.pulse_width_s
        + programming.line_energy_j
    )
    verify_j = _read_pulse_j(preset) + converter.adc_j + converter.tia_j
    step_s = (programming.pulse_width_s + preset.read.time_s + converter.adc_s) / programming.parallel_cells
    return Cost(energy_j=pulses * (pulse_j + verify_j), seconds=pulses * step_s, cell_writes=pulses)


def program_weights(preset: Preset, weights: int) -> Cost:
    """Return the cost of write-verifying `weights` single weights (k cells each, no reference cells)."""
    _not_negative(weights=weights)
    return program_cells(preset, weights * preset.tile.cells_per_weight)


def reprogram_weights(preset: Preset, weights: int, *, over_radio: bool) -> Cost:
    """Return the cost of changing weights where they are in ReRAM: what `deploy` is compared with.

    Parameters
    ----------
    over_radio
        Whether the new targets (2 bytes each) come through the radio. Say the same for `deploy`: a byte on
        air costs more than a cell, so leaving it out on one side decides the ratio.
    """
    write = program_weights(preset, weights)
    return write + radio(preset, BYTES_PER_TARGET * weights) if over_radio else write


def digital_macs(preset: Preset, macs: int, precision: Precision) -> Cost:
    """Return the cost of multiply-accumulates on operands already at hand (memory is charged apart)."""
    _not_negative(macs=macs)
    digital = preset.digital
    mac_j = digital.mac_int8_j if precision is Precision.INT8 else digital.mac_fp32_j
    return Cost(energy_j=macs * mac_j, seconds=macs / digital.macs_per_s)


def sram_read(preset: Preset, byte_count: int) -> Cost:
    """Return the cost of reading bytes from SRAM."""
    _not_negative(byte_count=byte_count)
    digital = preset.digital
    return Cost(byte_count * digital.sram_j_per_byte, byte_count / digital.sram_bytes_per_s, bytes=byte_count)


def sram_write(preset: Preset, byte_count: int) -> Cost:
    """Return the cost of writing bytes to SRAM: the same as reading them."""
    return sram_read(preset, byte_count)


def erase(preset: Preset, byte_count: int) -> Cost:
    """Return the cost of erasing bytes of SRAM: overwriting them once."""
    return sram_write(preset, byte_count)


def radio(preset: Preset, byte_count: int) -> Cost:
    """Return the cost of sending or receiving bytes."""
    _not_negative(byte_count=byte_count)
    return Cost(byte_count * preset.radio.j_per_byte, byte_count / preset.radio.bytes_per_s, bytes=byte_count)


def deploy(preset: Preset, byte_count: int, *, over_radio: bool) -> Cost:
    """Return the cost of making an adapter of so many bytes active: into SRAM, no cell is written.

    `Cost.bytes` is the size of the adapter, counted once, whether or not it also came through the radio.
    """
    write = sram_write(preset, byte_count)
    if not over_radio:
        return write
    received = radio(preset, byte_count)
    return Cost(write.energy_j + received.energy_j, write.seconds + received.seconds, bytes=byte_count)


def lora_forward(
    preset: Preset,
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    precision: Precision = Precision.FP32,
    bytes_per_parameter: int = 4,
) -> Cost:
    """Return the cost of ``B (A x)`` for `samples` inputs: ``r (n + m)`` MACs each, factors fetched once."""
    _not_negative(inputs=inputs, outputs=outputs, rank=rank, samples=samples)
    parameters = rank * (inputs + outputs)
    arithmetic = digital_macs(preset, samples * parameters, precision)
    return arithmetic + sram_read(preset, parameters * bytes_per_parameter) if samples else arithmetic


def lora_training_step(
    preset: Preset,
    *,
    inputs: int,
    outputs: int,
    rank: int,
    samples: int,
    train_a: bool,
    bytes_per_parameter: int = 4,
    accesses_per_parameter: int = 2,
) -> Cost:
    """Return the cost of one step of gradient training of a LoRA on an output layer, fp32.

    Forward ``r (n + m)`` MACs per sample; backward ``r m`` for the gradient of B and, if A is trained too,
    ``r m`` to reach it and ``r n`` for its own. Inputs are read once, trained parameters are accessed
    `accesses_per_parameter` times (2 for SGD: read and write; 6 for Adam).
    The frozen network in front is not in it: its features are captured, so no gradient crosses it.
    """
    forward = lora_forward(
        preset,
        inputs=inputs,
        outputs=outputs,
        rank=rank,
        samples=samples,
        bytes_per_parameter=bytes_per_parameter,
    )
    backward_macs = rank * outputs + (rank * (inputs + outputs) if train_a else 0)
    trained = rank * outputs + (rank * inputs if train_a else 0)
    moved = samples * inputs * bytes_per_parameter + trained * bytes_per_parameter * accesses_per_parameter
    return forward + digital_macs(preset, samples * backward_macs, Precision.FP32) + sram_read(preset, moved)


def _read_pulse_j(preset: Preset) -> float:
    return preset.read.voltage_v**2 * _mid_s(preset) * preset.read.time_s


def _mid_s(preset: Preset) -> float:
    window = ConductanceWindow.of(preset)
    return window.mid_level * window.grid_us * 1e-6


def _ceil(amount: int, per: int) -> int:
    return -(-amount // per)


def _not_negative(**amounts: int) -> None:
    for name, amount in amounts.items():
        if amount < 0:
            raise CostError(f"{name} must not be negative; got {amount}")
