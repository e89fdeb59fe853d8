"""Random signs on crossbars: what the untrained layers of the backbones multiply by."""

from __future__ import annotations

from collections.abc import Sequence

from hwmodel import Crossbar, EnergyLedger, Preset
from hwmodel.streams import keyed_uint16


def program_signs(
    preset: Preset,
    fleet_seed: int,
    node_ids: Sequence[str],
    ledger: EnergyLedger,
    *,
    layer: str,
    outputs: int,
    inputs: int,
    input_rms: float,
) -> Crossbar:
    """Program a matrix of +-1, ``[outputs, inputs]``, into every node's crossbars.

    The targets are the same on every chip of a fleet: they follow from `fleet_seed` and `layer` alone.

    Parameters
    ----------
    preset, fleet_seed, node_ids, ledger, layer, input_rms
        As for `Crossbar.program`; charged to `Phase.PROGRAM`.
    outputs, inputs
        Size of the matrix.
    """
    bits = keyed_uint16(fleet_seed, f"backbone.{layer}", count=outputs * inputs) & 1
    return Crossbar.program(
        (2.0 * bits - 1.0).reshape(outputs, inputs),
        preset,
        fleet_seed=fleet_seed,
        nodes=node_ids,
        layer=layer,
        input_rms=input_rms,
        ledger=ledger,
    )
