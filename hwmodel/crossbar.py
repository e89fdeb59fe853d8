"""A layer of weights on crossbar tiles of many chips at once, computed tile by tile in integers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hwmodel import cost
from hwmodel.converter import EXACT_FLOAT32, Adc, Dac
from hwmodel.device import (
    ConductanceWindow,
    ConstantProgrammingError,
    Endurance,
    ProgrammingError,
    programmed_levels,
    programming_pulses,
)
from hwmodel.errors import CrossbarError
from hwmodel.ledger import EnergyLedger, Phase
from hwmodel.mapping import mapping_of, weight_levels
from hwmodel.preset import Preset
from hwmodel.streams import keyed_uint16

#: The default ADC range covers this many standard deviations of the expected partial sums.
ADC_RANGE_SIGMAS = 4.0

#: Partial sums held at once (float32 elements): bounds the scratch memory of a large fleet.
_SCRATCH_ELEMENTS = 1 << 23

#: Settings of torch's float32 products that are float32; the others round the factors first.
_EXACT_PRECISIONS = ("none", "ieee")


class Crossbar:
    """One layer on the chips of `nodes`, made by `Crossbar.program`.

    All nodes have the same targets, ADC step and scale; they differ by what write-verify left in their cells.
    Results are bitwise the same for any batch split, order, subset of nodes and number of threads, since
    every partial sum is an integer below 2^24 held in float32, which no order of summation can change.

    Attributes
    ----------
    preset, nodes, layer, epoch
        What the chips were programmed with.
    dac, adc
        Converters, the ADC with this layer's step.
    cells
        Effective levels (signed sum of each weight's cells): float32 with integer values
        ``[N, row_tiles, rows, out]``.
    scale
        ``mvm(codes) * scale`` approximates ``codes @ weights.T``; the same on every chip.
    cell_writes
        Pulses that programming this epoch took, int64 ``[N]``.
    reads
        Vectors multiplied so far, int64 ``[N]``.
    """

    def __init__(
        self,
        *,
        preset: Preset,
        nodes: tuple[str, ...],
        layer: str,
        epoch: int,
        adc_step: int,
        cells: Tensor,
        ideal_weights: Tensor,
        weight_per_level: float,
    ) -> None:
        self.preset, self.nodes, self.layer, self.epoch = preset, nodes, layer, epoch
        self.dac = Dac(preset.converter.dac_bits)
        self.adc = Adc(preset.converter.adc_bits, adc_step)
        self.cells = cells
        self.scale = adc_step * weight_per_level
        self.out_features, self.in_features = ideal_weights.shape
        self.reads = torch.zeros(len(nodes), dtype=torch.int64)
        self._ideal_weights = ideal_weights
        self._mvm_cost = cost.crossbar_mvm(preset, self.in_features, self.out_features)
        pulses = programming_pulses(preset, cost.crossbar_cells(preset, self.in_features, self.out_features))
        self.cell_writes = torch.full((len(nodes),), pulses, dtype=torch.int64)
        _check_exact(preset, rows=cells.shape[2], adc_step=adc_step)

    @classmethod
    def program(
        cls,
        weights: Tensor,
        preset: Preset,
        *,
        fleet_seed: int,
        nodes: Sequence[str],
        layer: str,
        epoch: int = 0,
        ledger: EnergyLedger | None = None,
        error: ProgrammingError | None = None,
        full_scale_weight: float | None = None,
        input_rms: float | None = None,
        adc_step: int | None = None,
    ) -> Crossbar:
        """Write weights to every node's chip by write-verify.

        A chip is a function of (fleet seed, node, layer, epoch), the weights and the preset: it is
        regenerated when needed and never stored. To regenerate one that was paid for before, leave out the
        ledger.

        Parameters
        ----------
        weights
            Float ``[out, in]``; rounded to the conductance grid.
        preset
            Technology.
        fleet_seed, nodes, layer, epoch
            Key of the programming error. The epoch counts how often the layer has been programmed before.
        ledger
            Charged with `Phase.PROGRAM` on every node.
        error
            Programming error; the preset's constant sigma if None.
        full_scale_weight
            Weight that reaches the end of the conductance window; the largest magnitude if None. A smaller
            one saturates outliers and gives the rest more of the window, so less relative error.
        input_rms
            Expected root mean square of the input codes, for the default ADC step; if None, of codes spread
            evenly over the DAC's range (73 for 8 bits), which wastes resolution when inputs are smaller.
        adc_step
            Partial-sum units per ADC code, and so the range; by default it covers `ADC_RANGE_SIGMAS` standard
            deviations of the partial sums of the widest column. Ideal weights decide, never a chip's error:
            codes of different chips must mean the same.

        Raises
        ------
        CrossbarError
            If there are no nodes or one twice, the ledger has another number of nodes, the epoch or the input
            rms is out of range, or partial sums would not be exact.
        MappingError
            If the weights cannot be mapped.
        ConverterError
            If the ADC cannot have this step.
        """
        nodes = _checked_nodes(nodes, ledger)
        if epoch < 0:
            raise CrossbarError(f"epoch of layer {layer!r} must not be negative; got {epoch}")
        mapping = mapping_of(preset)
        error = error or ConstantProgrammingError(preset.cell.programming_sigma_us)
        window = ConductanceWindow.of(preset)
        levels, weight_per_level = weight_levels(weights, mapping.full_scale(window), full_scale_weight)
        inputs, outputs = levels.shape
        # A layer with fewer inputs than a tile has rows drives only those.
        rows = min(preset.tile.rows, inputs)
        row_tiles = -(-inputs // rows)
        if adc_step is None:
            adc_step = default_adc_step(levels, preset, input_rms)

        planes = mapping.planes(levels, window, preset.tile.columns)
        cells = torch.zeros(len(nodes), row_tiles * rows, outputs)
        for index, node in enumerate(nodes):
            for plane in planes:
                key = ("crossbar.program", node, layer, epoch, plane.name)
                draws = keyed_uint16(fleet_seed, *key, count=plane.targets.numel())
                programmed = programmed_levels(plane.targets, draws, error, window)
                cells[index, :inputs] += plane.sign * plane.expanded(programmed, outputs)
        crossbar = cls(
            preset=preset,
            nodes=nodes,
            layer=layer,
            epoch=epoch,
            adc_step=adc_step,
            cells=cells.view(len(nodes), row_tiles, rows, outputs),
            ideal_weights=weights.detach().to("cpu", torch.float64),
            weight_per_level=weight_per_level,
        )
        if ledger is not None:
            ledger.charge(
                Phase.PROGRAM, cost.program_cells(preset, cost.crossbar_cells(preset, inputs, outputs))
            )
        return crossbar

    def mvm(self, codes: Tensor, *, ledger: EnergyLedger | None = None, phase: Phase = Phase.INFER) -> Tensor:
        """Multiply each node's input codes by its own chip.

        DAC codes drive the rows; each row tile's partial sums, less the reference, are quantised by the ADC
        (`Adc` has the rule); the codes of the row tiles are added digitally.

        Parameters
        ----------
        codes
            Integers ``[N, B, in]`` in the DAC's range.
        ledger, phase
            Charged with B reads on every node.

        Returns
        -------
        Tensor
            int32 ``[N, B, out]``.

        Raises
        ------
        ConverterError
            If codes are not integers or out of the DAC's range.
        CrossbarError
            If the shape is wrong, the ledger has another number of nodes, or torch may compute float32
            products with less than float32 precision.
        """
        self._check(codes, ledger)
        batch = codes.shape[1]
        result = torch.empty(len(self.nodes), batch, self.out_features, dtype=torch.int32)
        per_node = max(1, batch * self.cells.shape[1] * self.out_features)
        chunk = max(1, _SCRATCH_ELEMENTS // per_node)
        for start in range(0, len(self.nodes), chunk):
            part = slice(start, start + chunk)
            converted = self.adc.quantise_(self._partial_sums(codes[part], self.cells[part]))
            result[part] = converted.sum(dim=1)
        self.reads += batch
        if ledger is not None:
            ledger.charge(phase, self._mvm_cost * batch)
        return result

    def mvm_ideal(self, codes: Tensor) -> Tensor:
        """Return ``codes @ weights.T`` with the weights as given, float64 ``[N, B, out]``: the reference."""
        self._check(codes, None)
        return codes.to(torch.float64) @ self._ideal_weights.t()

    def partial_sums(self, codes: Tensor) -> Tensor:
        """Return what the ADCs see, as float32 integers ``[N, row_tiles, B, out]``: to choose an ADC step."""
        self._check(codes, None)
        return self._partial_sums(codes, self.cells)

    @property
    def wear(self) -> Tensor:
        """Share of the cells' endurance used up by all epochs so far, float64 ``[N]``."""
        cells = cost.crossbar_cells(self.preset, self.in_features, self.out_features)
        pulses = self.cell_writes.to(torch.float64) * (self.epoch + 1) / cells
        endurance = Endurance(self.preset.cell.endurance_cycles)
        return torch.tensor([endurance.used(float(p)) for p in pulses], dtype=torch.float64)

    def _partial_sums(self, codes: Tensor, cells: Tensor) -> Tensor:
        nodes, batch, inputs = codes.shape
        _, row_tiles, rows, outputs = cells.shape
        driven = functional.pad(codes.to(torch.float32), (0, row_tiles * rows - inputs))
        tiles = driven.view(nodes, batch, row_tiles, rows).transpose(1, 2)
        arrays = nodes * row_tiles
        sums = torch.bmm(tiles.reshape(arrays, batch, rows), cells.reshape(arrays, rows, outputs))
        return sums.view(nodes, row_tiles, batch, outputs)

    def _check(self, codes: Tensor, ledger: EnergyLedger | None) -> None:
        nodes = len(self.nodes)
        if codes.ndim != 3 or codes.shape[0] != nodes or codes.shape[2] != self.in_features:
            raise CrossbarError(
                f"layer {self.layer!r} takes codes [{nodes}, B, {self.in_features}]; got {list(codes.shape)}"
            )
        self.dac.check(codes)
        if ledger is not None and ledger.nodes != nodes:
            raise CrossbarError(f"layer {self.layer!r} has {nodes} nodes; the ledger keeps {ledger.nodes}")
        # Not torch.get_float32_matmul_precision: it raises once anyone has used the newer switches.
        precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
        if precision not in _EXACT_PRECISIONS:
            raise CrossbarError(
                f"torch computes float32 products in {precision}, so partial sums would not be exact: "
                'call torch.set_float32_matmul_precision("highest")'
            )


def default_adc_step(levels: Tensor, preset: Preset, input_rms: float | None = None) -> int:
    """Return the ADC step that covers `ADC_RANGE_SIGMAS` sigmas of the widest column's partial sums.

    The partial sum of independent, centred inputs has ``sigma = input_rms sqrt(sum of level^2)``.

    Parameters
    ----------
    levels
        Ideal signed levels, int32 ``[in, out]``.
    preset
        Technology.
    input_rms
        Expected rms of the input codes; that of codes spread evenly over the DAC's range if None.

    Raises
    ------
    CrossbarError
        If `input_rms` is not in (0, largest DAC code].
    """
    dac = Dac(preset.converter.dac_bits)
    if input_rms is None:
        input_rms = dac.max_code / math.sqrt(3)
    if not 0 < input_rms <= dac.max_code:
        raise CrossbarError(f"input_rms must lie in 0 ... {dac.max_code} DAC codes; got {input_rms}")
    squares = levels.to(torch.int64).square()
    rows = preset.tile.rows
    widest = max(int(squares[top : top + rows].sum(dim=0).max()) for top in range(0, len(squares), rows))
    adc_bits = preset.converter.adc_bits
    step = math.ceil(ADC_RANGE_SIGMAS * input_rms * math.sqrt(widest) / ((1 << (adc_bits - 1)) - 1))
    return max(1, step)


def _checked_nodes(nodes: Sequence[str], ledger: EnergyLedger | None) -> tuple[str, ...]:
    if isinstance(nodes, str):
        raise CrossbarError(f"nodes is a sequence of ids; got the string {nodes!r}: write [{nodes!r}]")
    ids = tuple(nodes)
    if not ids or len(set(ids)) != len(ids):
        raise CrossbarError(f"a crossbar needs at least one node, and none twice; got {ids}")
    if ledger is not None and ledger.nodes != len(ids):
        raise CrossbarError(f"{len(ids)} nodes are programmed; the ledger keeps {ledger.nodes}")
    return ids


def _check_exact(preset: Preset, rows: int, adc_step: int) -> None:
    """Refuse a geometry whose largest partial sum is not exact in float32 (DESIGN.md, principle 3)."""
    window = ConductanceWindow.of(preset)
    span = window.max_level - window.min_level
    largest = rows * Dac(preset.converter.dac_bits).max_code * span + adc_step // 2
    if largest >= EXACT_FLOAT32:
        raise CrossbarError(
            f"preset {preset.name}: {rows} rows x {preset.converter.dac_bits}-bit codes x {span} levels sum "
            f"up to {largest}, which float32 does not hold exactly (limit {EXACT_FLOAT32}): use fewer rows, "
            "a coarser conductance_grid_us or fewer dac_bits"
        )
