"""The readings of the three ratios that arXiv 2601.10037 names without saying how they were counted.

Its abstract gives "training cost up to 147.76x, deployment overhead 387.95x, inference energy 48.44x"; the baselines
were not to be had (the first two compare with rewriting analogue weights, after the project's own readme; the third's
is not named). A *reading* is one way to count, exact enough to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hwmodel.cost.assumptions import Assumptions, Fetch, Optimiser, Origin
from hwmodel.cost.designs import Activity, Design, adaptation_steps, bill
from hwmodel.cost.pricing import Technology
from hwmodel.networks.spec import NetworkSpec


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
class Reading:
    """One way to count one of the ratios.

    Attributes
    ----------
    name
        Short and unique.
    headline
        The ratio that it reads.
    meaning
        What is divided by what, in a sentence.
    ratio
        ``ratio(network, technology)``: a number for a preset, one per draw for a sample.
    applies
        Whether a network has what the reading is about.
    free_analogue
        The same ratio if crossbars took no energy, which no technology can pass; None where the analogue side is not in
        the denominator alone.
    """

    name: str
    headline: PaperRatio
    meaning: str
    ratio: Callable[[NetworkSpec, Technology[Any]], Any]
    applies: Callable[[NetworkSpec], bool] = _always
    free_analogue: Callable[[NetworkSpec, Technology[Any]], Any] | None = None


def _adapting(
    activity: Activity, assumed: Assumptions, measure: str = "energy_j", *, analogue_assumed: Assumptions | None = None
) -> Callable[..., Any]:
    """Return the ratio of rewriting analogue weights to changing a LoRA."""

    def ratio(network: NetworkSpec, technology: Technology[Any]) -> Any:
        of_analogue = analogue_assumed or assumed
        analogue = bill(network, technology, Design.ANALOGUE, activity, of_analogue).total
        lora = bill(network, technology, Design.LORA, activity, assumed).total
        return getattr(analogue, measure) / getattr(lora, measure)

    return ratio


def _all_updates(optimiser: Optimiser) -> Callable[..., Any]:
    """Return the ratio of the energy of all updates of an adaptation."""
    of_one = _adapting(Activity.UPDATE, Assumptions(optimiser=optimiser))

    def ratio(network: NetworkSpec, technology: Technology[Any]) -> Any:
        return of_one(network, technology) * _step_ratio(network)

    return ratio


def _step_ratio(network: NetworkSpec) -> float:
    return adaptation_steps(network, Design.ANALOGUE) / adaptation_steps(network, Design.LORA)


def _parameters(network: NetworkSpec, _technology: Technology[Any]) -> float:
    return network.crossbar_weights / network.lora_parameters


def _parameter_updates(network: NetworkSpec, technology: Technology[Any]) -> float:
    return _parameters(network, technology) * _step_ratio(network)


def _inferring(assumed: Assumptions, *, analogue_is_free: bool = False) -> Callable[..., Any]:
    """Return the ratio of all-digital inference to that of a LoRA over crossbars."""

    def ratio(network: NetworkSpec, technology: Technology[Any]) -> Any:
        digital = bill(network, technology, Design.DIGITAL, Activity.INFERENCE, assumed)
        lora = bill(network, technology, Design.LORA, Activity.INFERENCE, assumed)
        paid = lora.digital() if analogue_is_free else lora
        return digital.total.energy_j / paid.total.energy_j

    return ratio


def _inference(
    name: str, meaning: str, assumed: Assumptions, applies: Callable[[NetworkSpec], bool] = _always
) -> Reading:
    return Reading(
        name, PaperRatio.INFERENCE, meaning, _inferring(assumed), applies, _inferring(assumed, analogue_is_free=True)
    )


UPDATES_SGD = Reading(
    "updates, SGD",
    PaperRatio.TRAINING,
    "energy of all updates of an adaptation: pulses on every analogue weight, against reading and writing "
    "fp32 LoRA parameters in SRAM once per step",
    _all_updates(Optimiser.SGD),
    _trains,
)
WHOLE_TRAINING = Reading(
    "whole training",
    PaperRatio.TRAINING,
    "energy of an adaptation with its forward and backward passes, at the network's batch, gradients charged "
    "for every layer",
    _adapting(Activity.ADAPTATION, Assumptions()),
    _trains,
)
WHOLE_TRAINING_SHORT = Reading(
    "whole training, gradient stops",
    PaperRatio.TRAINING,
    "as whole training, but no gradient passes the first layer that learns: the most in the paper's favour",
    _adapting(Activity.ADAPTATION, Assumptions(gradient_stops=True)),
    _trains,
)
DEPLOY_INT8 = Reading(
    "int8 to SRAM",
    PaperRatio.DEPLOYMENT,
    "energy of write-verifying every analogue weight once, against writing an int8 LoRA to SRAM",
    _adapting(Activity.DEPLOY, Assumptions()),
)
EQUAL_UNIT = _inference(
    "equal digital unit",
    "all-digital int8 inference, each weight read from SRAM for every use, against crossbars and a LoRA on "
    "the same unit; layers that stay digital left out",
    Assumptions(with_digital_layers=False),
)

#: Every reading that is computed, by headline.
READINGS: tuple[Reading, ...] = (
    UPDATES_SGD,
    Reading(
        "updates, Adam",
        PaperRatio.TRAINING,
        "as updates with SGD, but six SRAM accesses per LoRA parameter and step",
        _all_updates(Optimiser.ADAM),
        _trains,
    ),
    Reading(
        "one update",
        PaperRatio.TRAINING,
        "energy of one update step, SGD, whatever the number of steps",
        _adapting(Activity.UPDATE, Assumptions()),
    ),
    WHOLE_TRAINING,
    WHOLE_TRAINING_SHORT,
    Reading(
        "parameter updates",
        PaperRatio.TRAINING,
        "number of parameters times steps, all weights against the LoRA",
        _parameter_updates,
        _trains,
    ),
    Reading(
        "parameters", PaperRatio.TRAINING, "number of parameters that change, all weights against the LoRA", _parameters
    ),
    DEPLOY_INT8,
    Reading(
        "fp32 to SRAM",
        PaperRatio.DEPLOYMENT,
        "as int8 to SRAM, but the LoRA has 4 bytes per parameter",
        _adapting(Activity.DEPLOY, Assumptions(lora_bytes=4)),
    ),
    Reading(
        "fp32 from DRAM",
        PaperRatio.DEPLOYMENT,
        "the LoRA in fp32 from DRAM to SRAM; targets of analogue weights from DRAM too",
        _adapting(Activity.DEPLOY, Assumptions(lora_bytes=4, origin=Origin.DRAM)),
    ),
    Reading(
        "fp32 from DRAM, targets at hand",
        PaperRatio.DEPLOYMENT,
        "the LoRA in fp32 from DRAM to SRAM, but the targets of analogue weights for nothing",
        _adapting(Activity.DEPLOY, Assumptions(lora_bytes=4, origin=Origin.DRAM), analogue_assumed=Assumptions()),
    ),
    Reading(
        "int8 over radio",
        PaperRatio.DEPLOYMENT,
        "both over the radio: one byte per LoRA parameter, two per analogue target",
        _adapting(Activity.DEPLOY, Assumptions(origin=Origin.RADIO)),
    ),
    Reading(
        "time",
        PaperRatio.DEPLOYMENT,
        "time instead of energy: programming cells, against writing an int8 LoRA to SRAM",
        _adapting(Activity.DEPLOY, Assumptions(), "seconds"),
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
