"""Energy and time of products with a crossbar, in closed form.

Symbols: a layer has n inputs and m outputs, k cells per weight in s slices, on tiles of R rows and C columns, with
inputs in P phases of which a share rho is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwmodel.converter import conversion_j
from hwmodel.cost.pricing import AnyCost, Technology, refuse_negative
from hwmodel.errors import CostError


@dataclass(frozen=True, eq=False, slots=True)
class MvmEnergy:
    """Energy of products with a crossbar by part, J, each with its share of control."""

    array_j: Any  #: cells: a float, or float64 ``[draws]``, as are all
    dac_j: Any  #: row drivers
    adc_j: Any  #: converters with their amplifiers

    @property
    def total_j(self) -> Any:
        """Sum of the parts."""
        return self.array_j + self.dac_j + self.adc_j


def crossbar_cells(technology: Technology[AnyCost], inputs: int, outputs: int) -> int:
    """Return the cells that an n x m layer takes: ``k s n m``, plus the tiles' reference columns if k = 1."""
    refuse_negative(inputs=inputs, outputs=outputs)
    tile = technology.tile
    columns = outputs * tile.weight_slices
    if tile.cells_per_weight == 1:
        return inputs * (columns + _ceil(columns, tile.columns) * tile.reference_columns)
    return tile.cells_per_weight * inputs * columns


def crossbar_mvm_energy(
    technology: Technology[AnyCost], inputs: int, outputs: int, vectors: int = 1, *, input_density: float = 1.0
) -> MvmEnergy:
    """Return the energy of multiplying `vectors` vectors by an n x m layer, by part.

    ``E = c_ctrl [P rho (cells a V_r^2 G t_r + ceil(k s m / C) n E_dac) + s m ceil(n / R) (E_adc + P E_tia)]`` with the
    mean-square drive a and the mean conductance G. An ADC sees the difference of a column and its reference or partner,
    so there are s m conversions per row tile; what the phases give is gathered as charge and converted once, as in
    NeuRRAM. A phase of a bit-serial input drives rows with one of three levels: a DAC of 2 bits. Raises `CostError` if
    an amount is negative, or the density is outside 0 ... 1.
    """
    refuse_negative(vectors=vectors)
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
    technology: Technology[AnyCost], inputs: int, outputs: int, vectors: int = 1, *, input_density: float = 1.0
) -> AnyCost:
    """Return the cost of multiplying `vectors` vectors by an n x m layer.

    Energy as in `crossbar_mvm_energy`; ``t = P t_r + min(share, s m, C) t_adc``: tiles work in parallel, vectors in
    sequence. Raises `CostError` as for `crossbar_mvm_energy`.
    """
    refuse_negative(vectors=vectors)
    energy = crossbar_mvm_energy(technology, inputs, outputs, input_density=input_density)
    tile, converter = technology.tile, technology.converter
    turns = min(converter.columns_per_adc, outputs * tile.weight_slices, tile.columns)
    seconds = converter.input_phases * technology.read.time_s + turns * converter.adc_s
    return technology.priced(energy.total_j * vectors, seconds * vectors)


def _ceil(amount: int, per: int) -> int:
    return -(-amount // per)
