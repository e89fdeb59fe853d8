"""Three ways to build a chip that adapts, and what each takes to deploy, to train and to infer.

ANALOGUE keeps all weights in ReRAM and rewrites them; LORA freezes them there and keeps every change in a LoRA in SRAM,
computed digitally; DIGITAL has no crossbar. Formulas, with N weights, M multiply-accumulates (MACs) per pass, N_L and
M_L those of the LoRA, B samples per step, and ``u_l`` uses of layer l:

===========  ============================  ==============================  ===========================
activity     ANALOGUE                      LORA                            DIGITAL
===========  ============================  ==============================  ===========================
deploy       N write-verified weights      N_L b bytes to SRAM             N b bytes to SRAM
update       N cells x update pulses       N_L parameters x q accesses     N parameters x q accesses
train step   B (E_fwd + 2 M mac) + update  B (E_fwd + M_L + M + 2 M_L mac) B 3 M mac + update
                                           + update
inference    sum u_l E_mvm                 the same + M_L (mac + fetch)    M (mac + fetch)
===========  ============================  ==============================  ===========================

Gradients still cross the layers that a LoRA freezes, which is its M in a training step; each factor takes ``r (n + m)``
for its own gradient and as much to pass it on. Training is fp32 with operands at hand (activations are not charged),
inference int8. Energies of layers that stay digital are the same in all three. Not in it: norms, activation functions,
biases, the membranes of spiking neurons.

Two choices move ratios by more than a tenth. Absent spikes spare A of a LoRA but not B, whose input is dense: the
speaker network gains 24 times over dense digital inference, where scaling both by the root of the density would say 33.
And the backward pass of a LoRA is counted as 2 M_L, with nothing computed twice: 3 M_L would lower the mixer's gain in
whole training from 14.7 to 13.0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Generic

from hwmodel.cost import digital, products, writes
from hwmodel.cost.assumptions import DEFAULT, Assumptions, Fetch, Origin
from hwmodel.cost.breakdown import Component, CostBreakdown
from hwmodel.cost.digital import Precision
from hwmodel.cost.pricing import AnyCost, Reals, Technology
from hwmodel.errors import CostError
from hwmodel.networks.spec import NetworkSpec, TrainingFacts


class Design(StrEnum):
    """Place of the weights, and of what changes when the chip learns."""

    ANALOGUE = "analogue"
    LORA = "lora"
    DIGITAL = "digital"


class Activity(StrEnum):
    """Work of a design: make a change active, one optimiser update, one training step (forward, backward, update),
    a whole adaptation, one result.
    """

    DEPLOY = "deploy"
    UPDATE = "update"
    TRAINING_STEP = "training step"
    ADAPTATION = "adaptation"
    INFERENCE = "inference"


@dataclass(frozen=True, eq=False, slots=True)
class DesignReport(Generic[AnyCost]):
    """Costs of one network on one chip in one design.

    Attributes
    ----------
    costs
        By activity. Training step and adaptation are missing if the network has no `training`.
    sram_serving_bytes, sram_training_bytes
        What the parameters that change take in SRAM: to infer, and with what training keeps beside them. For an
        all-digital chip these are all weights.
    adaptations_left
        Adaptations by training in place before a mean cell is worn out; infinite if none is written, None without
        `training`. An array for a sample.
    """

    network: str
    design: Design
    assumptions: Assumptions
    costs: Mapping[Activity, CostBreakdown[AnyCost]]
    tiles: int  #: crossbar tiles; 0 if all-digital
    utilisation: float  #: share of their cells that hold a weight
    sram_serving_bytes: int
    sram_training_bytes: int
    sram_bytes: int
    adaptations_left: float | Reals | None
    rewrites_left: float | Reals  #: deployments before a mean cell is worn out; infinite if none is written

    @property
    def fits_serving(self) -> bool:
        """Whether the parameters that change fit into the preset's SRAM, to infer."""
        return self.sram_serving_bytes <= self.sram_bytes

    @property
    def fits_training(self) -> bool:
        """Whether they fit with what training keeps beside them."""
        return self.sram_training_bytes <= self.sram_bytes


def design_report(
    network: NetworkSpec, technology: Technology[AnyCost], design: Design, assumptions: Assumptions = DEFAULT
) -> DesignReport[AnyCost]:
    """Return what a network takes in a design: numbers for a `Preset`, arrays for a `PresetSample`.

    Raises `CostError` if the network has nothing on crossbars, or the design is LORA and the network has no LoRA.
    """
    costs = {
        activity: cost_breakdown(network, technology, design, activity, assumptions)
        for activity in Activity
        if network.training is not None or activity not in _TRAINED
    }
    analogue, rewritten = design is not Design.DIGITAL, design is Design.ANALOGUE
    in_sram = 0 if rewritten else _changing(network, design)
    adaptations: float | Reals | None = math.inf
    if rewritten:
        adaptations = (
            writes.adaptations_left(technology, steps=network.training.full_steps) if network.training else None
        )
    return DesignReport(
        network=network.name,
        design=design,
        assumptions=assumptions,
        costs=costs,
        tiles=network.tiles(technology) if analogue else 0,
        utilisation=network.utilisation(technology) if analogue else 0.0,
        sram_serving_bytes=in_sram * assumptions.lora_bytes,
        sram_training_bytes=in_sram * assumptions.training_bytes * assumptions.optimiser.copies,
        sram_bytes=technology.digital.sram_bytes,
        adaptations_left=adaptations,
        rewrites_left=writes.adaptations_left(technology) if rewritten else math.inf,
    )


def cost_breakdown(
    network: NetworkSpec,
    technology: Technology[AnyCost],
    design: Design,
    activity: Activity,
    assumptions: Assumptions = DEFAULT,
) -> CostBreakdown[AnyCost]:
    """Return what one activity takes in a design, by component.

    Raises `CostError` if the network has nothing on crossbars, no LoRA where the design is LORA, or no `training` where
    the activity needs it.
    """
    if not network.crossbar_layers:
        raise CostError(f"network {network.name} has no layer for a crossbar: there is nothing to compare")
    if design is Design.LORA and not network.lora_parameters:
        raise CostError(f"network {network.name} has no LoRA: give a layer a lora_rank")
    chip = _Chip(network, technology, assumptions)
    if activity is Activity.DEPLOY:
        return chip.deploy(design)
    if activity is Activity.UPDATE:
        return chip.update(design)
    if activity is Activity.INFERENCE:
        return chip.inference(design)
    if activity is Activity.ADAPTATION:
        return chip.training_step(design) * adaptation_steps(network, design)
    return chip.training_step(design)


_TRAINED = frozenset({Activity.TRAINING_STEP, Activity.ADAPTATION})


def adaptation_steps(network: NetworkSpec, design: Design) -> int:
    """Return the optimiser steps of one adaptation in a design.

    Raises `CostError` if the network has no `training`.
    """
    training = _training(network)
    return training.lora_steps if design is Design.LORA else training.full_steps


def _training(network: NetworkSpec) -> TrainingFacts:
    if network.training is None:
        raise CostError(f"network {network.name} has no [training]: steps and batch are needed for training")
    return network.training


def _changing(network: NetworkSpec, design: Design) -> int:
    return network.lora_parameters if design is Design.LORA else network.crossbar_weights


@dataclass(frozen=True, eq=False, slots=True)
class _Chip(Generic[AnyCost]):
    """A network on a technology, under the assumptions: the formulas of the module's table."""

    network: NetworkSpec
    technology: Technology[AnyCost]
    assumed: Assumptions

    def deploy(self, design: Design) -> CostBreakdown[AnyCost]:
        changing = _changing(self.network, design)
        if design is Design.ANALOGUE:
            size = changing * writes.BYTES_PER_TARGET
            written = CostBreakdown({Component.PROGRAMMING: writes.program_weights(self.technology, changing)})
        else:
            size = changing * self.assumed.lora_bytes
            written = CostBreakdown({Component.SRAM: digital.sram_write(self.technology, size)})
        if self.assumed.origin is Origin.DRAM:
            written += CostBreakdown({Component.DRAM: digital.dram_read(self.technology, size)})
        elif self.assumed.origin is Origin.RADIO:
            written += CostBreakdown({Component.RADIO: digital.radio(self.technology, size)})
        return written

    def update(self, design: Design) -> CostBreakdown[AnyCost]:
        changing = _changing(self.network, design)
        if design is Design.ANALOGUE:
            return CostBreakdown({Component.PROGRAMMING: writes.update_weights(self.technology, changing)})
        changed = digital.lora_update(
            self.technology,
            changing,
            bytes_per_parameter=self.assumed.training_bytes,
            accesses_per_parameter=self.assumed.optimiser.accesses,
        )
        return CostBreakdown({Component.SRAM: changed})

    def training_step(self, design: Design) -> CostBreakdown[AnyCost]:
        """Forward and backward of each sample, then one update."""
        batch = _training(self.network).batch
        macs = self._backward_macs(design)
        if design is Design.DIGITAL:
            macs += self.network.macs
        elif design is Design.LORA:
            macs += self.network.lora_macs
        if self.assumed.with_digital_layers:
            # Frozen in every design: forward, and the gradient on its way through.
            macs += 2 * self.network.digital_macs
        sample = self._macs(macs, Precision.FP32)
        if design is not Design.DIGITAL:
            sample += self._products()
        return sample * batch + self.update(design)

    def inference(self, design: Design) -> CostBreakdown[AnyCost]:
        """One result: all passes."""
        network, assumed = self.network, self.assumed
        if design is Design.DIGITAL:
            macs = network.active_macs if assumed.baseline_skips_zeros else network.macs
            once = network.crossbar_weights if assumed.baseline_fetch is Fetch.ONCE else None
            one_pass = self._digital_product(macs, once)
        else:
            one_pass = self._products()
        if design is Design.LORA:
            macs = network.lora_active_macs if assumed.adapter_skips_zeros else network.lora_macs
            once = network.lora_parameters if assumed.adapter_fetch is Fetch.ONCE else None
            one_pass += self._digital_product(macs, once)
        if assumed.with_digital_layers and network.digital_layers:
            weights = sum(layer.weights for layer in network.digital_layers)
            once = weights if assumed.baseline_fetch is Fetch.ONCE else None
            one_pass += self._digital_product(network.digital_macs, once)
        return one_pass * network.passes_per_output

    def _products(self) -> CostBreakdown[AnyCost]:
        """All analogue products of a pass."""
        # Alike layers are priced together: over thousands of draws a deep network takes its time.
        alike: Counter[tuple[int, int, float]] = Counter()
        for layer in self.network.crossbar_layers:
            alike[layer.inputs, layer.outputs, layer.input_density] += layer.uses
        return reduce(add, (self._product(*shape, uses) for shape, uses in alike.items()))

    def _product(self, inputs: int, outputs: int, density: float, uses: int) -> CostBreakdown[AnyCost]:
        technology = self.technology
        energy = products.crossbar_mvm_energy(technology, inputs, outputs, uses, input_density=density)
        whole = products.crossbar_mvm(technology, inputs, outputs, uses, input_density=density)
        return CostBreakdown(
            {
                Component.ARRAY: technology.priced(energy.array_j),
                Component.DAC: technology.priced(energy.dac_j),
                Component.ADC: technology.priced(energy.adc_j, whole.seconds),
            }
        )

    def _digital_product(self, macs: float, weights_read_once: int | None) -> CostBreakdown[AnyCost]:
        """Int8 MACs with their weights: read for each MAC, or so many of them once."""
        reads = math.ceil(macs) if weights_read_once is None else weights_read_once
        fetched = digital.sram_read(self.technology, reads * self.assumed.lora_bytes)
        return self._macs(macs, Precision.INT8) + CostBreakdown({Component.SRAM: fetched})

    def _macs(self, macs: float, precision: Precision) -> CostBreakdown[AnyCost]:
        return CostBreakdown({Component.MAC: digital.digital_macs(self.technology, macs, precision)})

    def _backward_macs(self, design: Design) -> int:
        """MACs of a sample's backward pass: own gradients of what learns, and gradients passed on."""
        layers = self.network.layers
        learns = [layer.lora_rank > 0 if design is Design.LORA else layer.on_crossbar for layer in layers]
        own = self.network.lora_macs if design is Design.LORA else self.network.macs
        first = learns.index(True) + 1 if self.assumed.gradient_stops else 0
        passed_on = sum(layer.macs for layer in layers[first:] if layer.on_crossbar)
        if design is Design.LORA:
            # B passes r m on to A in any case, A its r n only to layers in front.
            passed_on += self.network.lora_macs
            if self.assumed.gradient_stops:
                passed_on -= layers[first - 1].uses * layers[first - 1].lora_rank * layers[first - 1].inputs
        return own + passed_on
