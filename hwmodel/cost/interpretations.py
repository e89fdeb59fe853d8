"""Interpretations of the three ratios that arXiv 2601.10037 names without saying how they were counted.

Its abstract gives "training cost up to 147.76x, deployment overhead 387.95x, inference energy 48.44x"; the baselines
were not to be had (the first two compare with rewriting analogue weights, after the project's own readme; the third's
is not named). An *interpretation* is one way to count, exact enough to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hwmodel.cost.assumptions import Assumptions, Fetch, Optimiser, Origin
from hwmodel.cost.designs import Activity, Design, adaptation_steps, cost_breakdown
from hwmodel.cost.pricing import Technology
from hwmodel.networks.spec import NetworkSpec

#: A number for a preset, one per draw for a sample.
_NetworkFigure = Callable[[NetworkSpec, Technology[Any]], Any]
_Applies = Callable[[NetworkSpec], bool]


class PaperRatio(StrEnum):
    """The three ratios of the paper's abstract."""

    TRAINING = "training cost"
    DEPLOYMENT = "deployment overhead"
    INFERENCE = "inference energy"

    @property
    def paper(self) -> float:
        """The paper's figure, "up to"."""
        return {"training cost": 147.76, "deployment overhead": 387.95, "inference energy": 48.44}[self.value]


def _always(_network: NetworkSpec) -> bool:
    return True


def _trains(network: NetworkSpec) -> bool:
    return network.training is not None


def _spikes(network: NetworkSpec) -> bool:
    return any(layer.input_density < 1 for layer in network.crossbar_layers)


def _stays_digital_in_part(network: NetworkSpec) -> bool:
    return bool(network.digital_layers)


@dataclass(frozen=True, slots=True)
class Interpretation:
    """One way to count one of the ratios.

    Attributes
    ----------
    free_analogue
        The same figure if crossbars took no energy, which no technology can pass; None where the analogue side is not
        in the denominator alone.
    """

    name: str  #: short and unique
    ratio: PaperRatio
    meaning: str  #: what is divided by what, in a sentence
    figure: _NetworkFigure
    applies: _Applies = _always  #: whether a network has what it is about
    free_analogue: _NetworkFigure | None = None


def _training(name: str, meaning: str, figure: _NetworkFigure, applies: _Applies = _trains) -> Interpretation:
    return Interpretation(name, PaperRatio.TRAINING, meaning, figure, applies)


def _deployment(
    name: str,
    meaning: str,
    assumed: Assumptions,
    measure: str = "energy_j",
    analogue_assumed: Assumptions | None = None,
) -> Interpretation:
    figure = _adapting(Activity.DEPLOY, assumed, measure, analogue_assumed)
    return Interpretation(name, PaperRatio.DEPLOYMENT, meaning, figure)


def _inference(name: str, meaning: str, assumed: Assumptions, applies: _Applies = _always) -> Interpretation:
    free = _inferring(assumed, analogue_is_free=True)
    return Interpretation(name, PaperRatio.INFERENCE, meaning, _inferring(assumed), applies, free)


def _adapting(
    activity: Activity, assumed: Assumptions, measure: str = "energy_j", analogue_assumed: Assumptions | None = None
) -> _NetworkFigure:
    """Return the ratio of rewriting analogue weights to changing a LoRA."""

    def figure(network: NetworkSpec, technology: Technology[Any]) -> Any:
        of_analogue = analogue_assumed or assumed
        analogue = cost_breakdown(network, technology, Design.ANALOGUE, activity, of_analogue).total
        lora = cost_breakdown(network, technology, Design.LORA, activity, assumed).total
        return getattr(analogue, measure) / getattr(lora, measure)

    return figure


def _all_updates(optimiser: Optimiser) -> _NetworkFigure:
    """Return the ratio of the energy of all updates of an adaptation."""
    of_one = _adapting(Activity.UPDATE, Assumptions(optimiser=optimiser))
    return lambda network, technology: of_one(network, technology) * _step_ratio(network)


def _step_ratio(network: NetworkSpec) -> float:
    return adaptation_steps(network, Design.ANALOGUE) / adaptation_steps(network, Design.LORA)


def _parameters(network: NetworkSpec, _technology: Technology[Any]) -> float:
    return network.crossbar_weights / network.lora_parameters


def _parameter_updates(network: NetworkSpec, technology: Technology[Any]) -> float:
    return _parameters(network, technology) * _step_ratio(network)


def _inferring(assumed: Assumptions, *, analogue_is_free: bool = False) -> _NetworkFigure:
    """Return the ratio of all-digital inference to that of a LoRA over crossbars."""

    def figure(network: NetworkSpec, technology: Technology[Any]) -> Any:
        digital = cost_breakdown(network, technology, Design.DIGITAL, Activity.INFERENCE, assumed)
        lora = cost_breakdown(network, technology, Design.LORA, Activity.INFERENCE, assumed)
        paid = lora.digital() if analogue_is_free else lora
        return digital.total.energy_j / paid.total.energy_j

    return figure


UPDATES_SGD = _training(
    "updates, SGD",
    "energy of all updates of an adaptation: pulses on every analogue weight, against reading and writing fp32 LoRA "
    "parameters in SRAM once per step",
    _all_updates(Optimiser.SGD),
)
WHOLE_TRAINING = _training(
    "whole training",
    "energy of an adaptation with its forward and backward passes, at the network's batch, gradients charged for every "
    "layer",
    _adapting(Activity.ADAPTATION, Assumptions()),
)
WHOLE_TRAINING_SHORT = _training(
    "whole training, gradient stops",
    "as whole training, but no gradient passes the first layer that learns: the most in the paper's favour",
    _adapting(Activity.ADAPTATION, Assumptions(gradient_stops=True)),
)
DEPLOY_INT8 = _deployment(
    "int8 to SRAM",
    "energy of write-verifying every analogue weight once, against writing an int8 LoRA to SRAM",
    Assumptions(),
)
EQUAL_UNIT = _inference(
    "equal digital unit",
    "all-digital int8 inference, each weight read from SRAM for every use, against crossbars and a LoRA on the same "
    "unit; layers that stay digital left out",
    Assumptions(with_digital_layers=False),
)

#: Every interpretation that is computed, by ratio.
INTERPRETATIONS: tuple[Interpretation, ...] = (
    UPDATES_SGD,
    _training(
        "updates, Adam",
        "as updates with SGD, but six SRAM accesses per LoRA parameter and step",
        _all_updates(Optimiser.ADAM),
    ),
    _training(
        "one update",
        "energy of one update step, SGD, whatever the number of steps",
        _adapting(Activity.UPDATE, Assumptions()),
        _always,
    ),
    WHOLE_TRAINING,
    WHOLE_TRAINING_SHORT,
    _training(
        "parameter updates", "number of parameters times steps, all weights against the LoRA", _parameter_updates
    ),
    _training("parameters", "number of parameters that change, all weights against the LoRA", _parameters, _always),
    DEPLOY_INT8,
    _deployment("fp32 to SRAM", "as int8 to SRAM, but the LoRA has 4 bytes per parameter", Assumptions(lora_bytes=4)),
    _deployment(
        "fp32 from DRAM",
        "the LoRA in fp32 from DRAM to SRAM; targets of analogue weights from DRAM too",
        Assumptions(lora_bytes=4, origin=Origin.DRAM),
    ),
    _deployment(
        "fp32 from DRAM, targets at hand",
        "the LoRA in fp32 from DRAM to SRAM, but the targets of analogue weights for nothing",
        Assumptions(lora_bytes=4, origin=Origin.DRAM),
        analogue_assumed=Assumptions(),
    ),
    _deployment(
        "int8 over radio",
        "both over the radio: one byte per LoRA parameter, two per analogue target",
        Assumptions(origin=Origin.RADIO),
    ),
    _deployment(
        "time",
        "time instead of energy: programming cells, against writing an int8 LoRA to SRAM",
        Assumptions(),
        "seconds",
    ),
    EQUAL_UNIT,
    _inference(
        "equal unit, whole network",
        "as equal digital unit, with the layers that stay digital on both sides",
        Assumptions(),
        _stays_digital_in_part,
    ),
    _inference(
        "dense unit, gated adapter",
        "as equal digital unit, but only the LoRA skips inputs without a spike",
        Assumptions(with_digital_layers=False, adapter_skips_zeros=True),
        _spikes,
    ),
    _inference(
        "event-driven unit",
        "as equal digital unit, which skips inputs without a spike on both sides",
        Assumptions(with_digital_layers=False, adapter_skips_zeros=True, baseline_skips_zeros=True),
        _spikes,
    ),
    _inference(
        "adapter read once",
        "as equal digital unit, but the LoRA is read once per pass and the baseline's weights for every use",
        Assumptions(with_digital_layers=False, adapter_fetch=Fetch.ONCE),
    ),
    _inference(
        "all read once",
        "as equal digital unit, which reads each weight once per pass on both sides",
        Assumptions(with_digital_layers=False, adapter_fetch=Fetch.ONCE, baseline_fetch=Fetch.ONCE),
    ),
)
