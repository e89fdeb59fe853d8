"""A layer of weights on crossbar tiles of many chips at once, computed tile by tile in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hwmodel import cost
from hwmodel.converter import Dac
from hwmodel.crossbar.adc_range import checked_input_rms, default_adc_step
from hwmodel.crossbar.arrays import check_float32_products
from hwmodel.crossbar.chips import ChipKeys, WriteVerifyMode, checked_nodes
from hwmodel.crossbar.fidelity import Fidelity
from hwmodel.crossbar.layout import Layout
from hwmodel.crossbar.plan import CrossbarPlan
from hwmodel.device.models import DeviceModels
from hwmodel.device.relaxation import age_step_s
from hwmodel.errors import CrossbarError
from hwmodel.ledger import Cost, EnergyLedger, Phase
from hwmodel.presets.preset import Preset

#: Partial sums held at once (float32 elements): bounds the scratch memory of a large fleet or batch.
_SCRATCH_ELEMENTS = 1 << 22


class Crossbar:
    """One layer on the chips of `nodes`, made by `Crossbar.program`.

    All nodes have the same targets, ADC step and scale; they differ by what write-verify and time left in their cells.
    Results are bitwise the same for any batch split, order, subset of nodes and number of threads, since every partial
    sum is an integer below 2^24 held in float32, which no order of summation can change; with read noise, if the reads
    have the same numbers. (`Fidelity.IDEAL` alone is float64.)

    Attributes
    ----------
    preset, nodes, layer, epoch, models, fidelity
        What the chips were programmed with.
    age_s
        Age of the cells.
    dac, adc
        Converters, the ADC with this layer's step (of one plane of bits at `Fidelity.BIT_SERIAL`).
    cells
        Effective levels (signed sum of each weight's cells, slices beside each other): float32 with integer values
        ``[N, row_tiles, rows, slices * out]``; one set ``[1, ...]`` where no node has its own: expected ones
        (`STATISTICAL`) or targets (`IDEAL`).
    scale
        ``mvm(codes) * scale`` approximates ``codes @ weights.T``; the same on every chip.
    cell_writes
        Pulses that programming this epoch took, int64 ``[N]``.
    not_converged
        Cells that spent all their pulses, float64 ``[N]``: counted pulse by pulse, expected in closed form.
    reads
        Vectors multiplied so far, int64 ``[N]``.
    driven
        Inputs that drove a row in them, int64 ``[N]``: all, but for the zeros of sparse ones.
    """

    def __init__(self, plan: CrossbarPlan) -> None:
        layout, keys = plan.layout, plan.keys
        self.preset, self.nodes, self.layer, self.epoch = layout.preset, keys.nodes, keys.layer, keys.epoch
        self.age_s, self.models, self.fidelity = plan.age_s, plan.models, plan.fidelity
        self.in_features, self.out_features = layout.inputs, layout.outputs
        parts = plan.build()
        self.dac, self.adc = Dac(self.preset.converter.dac_bits), parts.adc
        self.cells = parts.arrays.cells
        self.scale = 1.0 if self.fidelity is Fidelity.IDEAL else self.adc.step * layout.weight_per_unit
        self.cell_writes = torch.tensor([lot.pulses for lot in parts.programming])
        missed = [lot.not_converged for lot in parts.programming]
        self.not_converged = torch.tensor(missed, dtype=torch.float64)
        self.reads, self.driven = (torch.zeros(len(self.nodes), dtype=torch.int64) for _ in range(2))
        self._plan, self._parts = plan, parts
        self._mvm_cost = cost.crossbar_mvm(self.preset, self.in_features, self.out_features)

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
        age_s: float = 1.0,
        models: DeviceModels | None = None,
        fidelity: Fidelity = Fidelity.TILE_ACCURATE,
        write_verify: WriteVerifyMode = "closed-form",
        ledger: EnergyLedger | None = None,
        full_scale_weight: float | None = None,
        input_rms: float | None = None,
        adc_step: int | None = None,
    ) -> Crossbar:
        """Write weights to every node's chip by write-verify.

        A chip is a function of (fleet seed, node, layer, epoch), the weights, the preset, the models and the age: it is
        regenerated when needed and never stored. To regenerate one that was paid for before, leave out the ledger.

        Parameters
        ----------
        weights
            Float ``[out, in]``; rounded to the conductance grid.
        fleet_seed, nodes, layer, epoch
            Key of what is random. The epoch counts how often the layer has been programmed before.
        models
            Programming error, relaxation, stuck cells, IR drop and read noise; the preset's if None.
        write_verify
            ``"closed-form"``: published error and expected pulses. ``"pulse-by-pulse"``: every pulse of every cell is
            simulated, and pulses, energy and unconverged cells are counted; some ten times slower.
        ledger
            Charged with `Phase.PROGRAM` on every node, whatever the fidelity.
        full_scale_weight
            Weight that reaches the end of the conductance window; the largest magnitude if None. A smaller one
            saturates outliers and gives the rest more of the window, so less relative error.
        input_rms
            Expected root mean square of the input codes, for the default ADC step; if None, of codes spread evenly over
            the DAC's range (73 for 8 bits), which wastes resolution when inputs are smaller.
        adc_step
            Partial-sum units per ADC code, and so the range; by default it covers `ADC_RANGE_SIGMAS` standard
            deviations of the partial sums of the widest column. Ideal weights decide, never a chip's error: codes of
            different chips must mean the same. A plane of bits is given its share of it (`plane_adc_step`).

        Raises
        ------
        CrossbarError
            If there are no nodes or one twice, the ledger has another number of nodes, the epoch or the input rms is
            out of range, the write-verify mode is unknown or asked of a level without cells per node, or sums would not
            be exact.
        MappingError
            If the weights cannot be mapped.
        ConverterError
            If the ADC cannot have this step.
        DeviceError
            If a model does not cover the preset's conductances, the age or the voltage drop.
        """
        keys = ChipKeys(fleet_seed, checked_nodes(nodes), layer, epoch)
        if ledger is not None and ledger.nodes != len(keys.nodes):
            raise CrossbarError(f"{len(keys.nodes)} nodes are programmed; the ledger keeps {ledger.nodes}")
        if epoch < 0:
            raise CrossbarError(f"epoch of layer {layer!r} must not be negative; got {epoch}")
        layout = Layout.of(weights, preset, full_scale_weight)
        if adc_step is None:
            adc_step = default_adc_step(layout.column_levels, preset, input_rms)
        crossbar = cls(
            CrossbarPlan(
                weights=weights.detach().to("cpu", torch.float64),
                layout=layout,
                keys=keys,
                models=DeviceModels.of(preset) if models is None else models,
                fidelity=Fidelity(fidelity),
                write_verify=write_verify,
                age_s=age_s,
                adc_step=adc_step,
                input_rms=checked_input_rms(preset, input_rms),
            )
        )
        if ledger is not None:
            ledger.charge(Phase.PROGRAM, [result.cost for result in crossbar._parts.programming], by=crossbar)
        return crossbar

    def at_age(self, age_s: float) -> Crossbar:
        """Return the same chips at another age: same programming, more (or less) relaxation; nothing is paid.

        Raises `DeviceError` if the relaxation model does not cover the age.
        """
        aged = Crossbar(replace(self._plan, age_s=age_s))
        aged.reads, aged.driven = self.reads.clone(), self.driven.clone()
        return aged

    def grow_to(self, age_s: float) -> None:
        """Have cells of an age from now on, any age, as far as the relaxation model covers it: see `age_step_s`.

        Nothing is paid.
        """
        age_s = age_step_s(self.models.relaxation, age_s)
        if age_s != self.age_s:
            self._plan = replace(self._plan, age_s=age_s)
            self._parts = self._plan.build()
            self.age_s, self.cells = age_s, self._parts.arrays.cells

    def at_fidelity(self, fidelity: Fidelity) -> Crossbar:
        """Return the same chips at another level of detail, no read made yet; nothing is paid.

        Raises `CrossbarError` if the write-verify mode needs cells that the level does not have, or sums would not be
        exact.
        """
        return Crossbar(replace(self._plan, fidelity=Fidelity(fidelity)))

    def mvm(
        self,
        codes: Tensor,
        *,
        node: int | None = None,
        reads: Tensor | None = None,
        sparse: bool = False,
        ledger: EnergyLedger | None = None,
        phase: Phase = Phase.INFER,
    ) -> Tensor:
        """Multiply each node's input codes by its own chip.

        DAC codes drive the rows; each row tile's partial sums, less the reference, are quantised by the ADC (`Adc` has
        the rule); the codes of the row tiles (and bit planes, and slices) are added digitally. Returns int32
        ``[N, B, out]``; float64 at `Fidelity.IDEAL`.

        Parameters
        ----------
        codes
            Integers ``[N, B, in]`` in the DAC's range.
        node
            Index of the only node that reads, whose codes come alone, ``[1, B, in]``, and which alone pays; each if
            None.
        reads
            Numbers of the reads, int64 ``[N, B]``: they key the read noise, so a read with the same number on the same
            chip repeats it. The crossbar's own count (`reads`, + 0, 1 ... B - 1) if None.
        sparse
            Whether the codes are spikes, so that a row whose code is 0 is not driven, and not charged for. (The mean
            drive of dense codes counts their zeros already.)
        ledger, phase
            Charged with B reads on every node that reads.

        Raises
        ------
        ConverterError
            If codes are not integers or out of the DAC's range.
        CrossbarError
            If a shape or the dtype of `reads` is wrong, the ledger has another number of nodes, or torch may compute
            float32 products with less than float32 precision.
        """
        dtype = torch.float64 if self.fidelity is Fidelity.IDEAL else torch.int32
        result = torch.empty(*codes.shape[:2], self.out_features, dtype=dtype)
        blocks = self.mvm_blocks(codes, node=node, reads=reads, sparse=sparse, ledger=ledger, phase=phase)
        for nodes, vectors, products in blocks:
            result[nodes, vectors] = products
        return result

    def mvm_blocks(
        self,
        codes: Tensor,
        *,
        vectors: int | None = None,
        node: int | None = None,
        reads: Tensor | None = None,
        sparse: bool = False,
        ledger: EnergyLedger | None = None,
        phase: Phase = Phase.INFER,
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield what `mvm` returns in blocks, each with its nodes and vectors: for results that are only added up.

        Blocks have `vectors` vectors, the last may have fewer; as many as fit the scratch memory if None. All is
        charged once the last one was taken. Codes that are one tensor expanded over the nodes are multiplied by all
        chips of a block at once, which is many times faster than by each.
        """
        self._check(codes, ledger, node)
        first_node, end = (0, len(self.nodes)) if node is None else (node, node + 1)
        batch = codes.shape[1]
        numbers = self._read_numbers(batch, reads, slice(first_node, end))
        per_vector = self._plan.layout.row_tiles * max(self._plan.layout.columns, self._plan.layout.rows)
        size = vectors or max(1, min(batch, _SCRATCH_ELEMENTS // per_vector))
        chunk = max(1, _SCRATCH_ELEMENTS // (size * per_vector))
        for first in range(0, end - first_node, chunk):
            part, chips = slice(first, first + chunk), slice(first_node + first, min(first_node + first + chunk, end))
            for start in range(0, batch, size):
                span = slice(start, start + size)
                yield part, span, self._parts.read(codes[part, span], chips, numbers[part, span])
        driven = (codes != 0).sum(dim=(1, 2)) if sparse else torch.full((len(codes),), batch * self.in_features)
        self.reads[first_node:end] += batch
        self.driven[first_node:end] += driven
        if ledger is not None:
            spent: Cost | Sequence[Cost] = self._mvm_cost * batch
            if sparse:
                charges = self._charges(batch, driven)
                spent = charges if node is None else charges[0]
            ledger.charge(phase, spent, node, by=self)

    def _charges(self, batch: int, driven: Tensor) -> list[Cost]:
        shares = (driven.double() / max(1, batch * self.in_features)).tolist()
        return [
            cost.crossbar_mvm(self.preset, self.in_features, self.out_features, batch, input_density=share)
            for share in shares
        ]

    def mvm_ideal(self, codes: Tensor) -> Tensor:
        """Return ``codes @ weights.T`` with the weights as given, float64 ``[N, B, out]``: the reference."""
        self._check(codes, None)
        return codes.to(torch.float64) @ self._plan.weights.t()

    def partial_sums(self, codes: Tensor) -> Tensor:
        """Return what the ADCs see without read noise, to choose an ADC step.

        Returns float32 integers ``[N, row_tiles, B, slices * out]``, for whole codes at every fidelity.
        """
        self._check(codes, None)
        return self._parts.arrays.partial_sums(self._parts.arrays.drive(codes), slice(None))

    @property
    def wear(self) -> Tensor:
        """Share of the cells' endurance used up by all epochs so far, float64 ``[N]``."""
        pulses_per_cell = self.cell_writes.to(torch.float64) * (self.epoch + 1) / self._plan.layout.cells
        return pulses_per_cell / self.preset.cell.endurance_cycles

    def _read_numbers(self, batch: int, reads: Tensor | None, chips: slice) -> Tensor:
        counts = self.reads[chips]
        if reads is None:
            return counts.unsqueeze(1) + torch.arange(batch)
        if reads.dtype is not torch.int64 or list(reads.shape) != [len(counts), batch]:
            raise CrossbarError(
                f"layer {self.layer!r} takes reads int64 [{len(counts)}, {batch}]; got {reads.dtype} "
                f"{list(reads.shape)}"
            )
        return reads

    def _check(self, codes: Tensor, ledger: EnergyLedger | None, node: int | None = None) -> None:
        if node is not None and not 0 <= node < len(self.nodes):
            raise CrossbarError(f"layer {self.layer!r} has nodes 0 to {len(self.nodes) - 1}; got {node}")
        nodes = len(self.nodes) if node is None else 1
        if codes.ndim != 3 or codes.shape[0] != nodes or codes.shape[2] != self.in_features:
            raise CrossbarError(
                f"layer {self.layer!r} takes codes [{nodes}, B, {self.in_features}]; got {list(codes.shape)}"
            )
        # One tensor expanded over the nodes is looked at once.
        self.dac.check(codes[:1] if codes.stride(0) == 0 else codes)
        if ledger is not None and ledger.nodes != len(self.nodes):
            raise CrossbarError(f"layer {self.layer!r} has {len(self.nodes)} nodes; the ledger keeps {ledger.nodes}")
        check_float32_products(self.layer)
