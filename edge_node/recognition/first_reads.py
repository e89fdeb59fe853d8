"""First reads of chips: programmed, or regenerated, and shown the public samples that they are calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edge_node.recognition.chips import Chips, PublicSamples
from edge_node.tasks import RecognitionTask
from hwmodel import Cost, EnergyLedger, Phase, Preset


@dataclass(frozen=True, eq=False)
class FirstReads:
    """Some chips, and what they made of the public samples.

    Attributes
    ----------
    codes
        Uncentred, of the task's `PublicSamples`, int32 [nodes, P, features].
    costs
        Cumulative costs of each node.
    first_costs
        Of each node, of programming its chip, and of reading the public samples.
    """

    chips: Chips
    codes: Tensor
    costs: Sequence[Mapping[Phase, Cost]]
    first_costs: Sequence[tuple[Cost, Cost]]

    @classmethod
    def of(
        cls,
        task: RecognitionTask,
        preset: Preset,
        fleet_seed: int,
        node_ids: Sequence[str],
        age_s: Callable[[], float],
        saved_costs: Sequence[Mapping[Phase, Cost]] = (),
    ) -> FirstReads:
        """Program the chips of some nodes at once, and read the public samples; arguments as of `Engine.build`."""
        nodes = range(len(node_ids))
        ledger, chips = EnergyLedger(len(nodes)), Chips(task, preset, fleet_seed, node_ids, len(nodes), age_s)
        chips.program(nodes, ledger)
        programming = [ledger.totals(node)[Phase.PROGRAM] for node in nodes]
        for node, saved in enumerate(saved_costs):
            add_saved(ledger, saved, node)
        marks = [ledger.mark(node) for node in nodes]
        codes = chips.capture(PublicSamples.of(task).samples, nodes, ledger.of(nodes), Phase.INFER)
        reading = [ledger.since(mark)[Phase.INFER] for mark in marks]
        costs = [ledger.totals(node) for node in nodes]
        return cls(chips, codes, costs, list(zip(programming, reading, strict=True)))


def add_saved(ledger: EnergyLedger, saved: Mapping[Phase, Cost], node: int) -> None:
    """Add saved costs; in place of what programming took if the chip had been programmed before."""
    if saved.get(Phase.PROGRAM, Cost()).cell_writes:
        ledger.restore(saved, node)
        return
    for phase, spent in saved.items():
        ledger.charge(phase, spent, node)
