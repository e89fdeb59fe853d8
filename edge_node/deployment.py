"""What it takes to make a revision active on a node, beside writing the same change into analogue weights."""

from __future__ import annotations

from reram_fleet.v1.types_pb2 import DeploymentOverhead

from hwmodel import EnergyLedger, Phase, Preset, cost


def deploy(
    preset: Preset, ledger: EnergyLedger, node: int, *, received_bytes: int, sram_bytes: int, weights: int
) -> DeploymentOverhead:
    """Charge and return what it takes to make a revision active on a node.

    The radio is charged to `Phase.RADIO`, writing the SRAM to `Phase.PROGRAM`; no cell is written. The alternative
    receives the same bytes and writes `weights` numbers into ReRAM. The ratio is that of the chip alone: a byte on air
    costs 5,000 times a byte of SRAM, so with the radio on both sides (the other ratio) it says more about the radio
    than about either way to store.
    """
    radio, sram = cost.radio(preset, received_bytes), cost.sram_write(preset, sram_bytes)
    write = cost.program_weights(preset, weights)
    analogue, spent = radio + write, radio + sram
    ledger.charge(Phase.RADIO, radio, node)
    ledger.charge(Phase.PROGRAM, sram, node)
    return DeploymentOverhead(
        energy_j=spent.energy_j,
        seconds=spent.seconds,
        bytes=radio.bytes,
        cell_writes=spent.cell_writes,
        reprogramming_ratio=_ratio(write.energy_j, sram.energy_j),
        reprogramming_energy_j=analogue.energy_j,
        reprogramming_seconds=analogue.seconds,
        reprogramming_cell_writes=analogue.cell_writes,
        radio_energy_j=radio.energy_j,
        reprogramming_ratio_with_radio=_ratio(analogue.energy_j, spent.energy_j),
    )


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
