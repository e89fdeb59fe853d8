"""Random signs on crossbars: what the untrained layers of the backbones multiply by."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hwmodel import Crossbar, EnergyLedger, Preset
from hwmodel.streams import keyed_uint16


def keyed_signs(rows: int, columns: int, seed: int, purpose: str, *keys: int | str) -> Tensor:
    """Return a matrix of +-1 of a key, float32 ``[rows, columns]``: one bit each, the same on every platform."""
    bits = keyed_uint16(seed, purpose, *keys, count=rows * columns) & 1
    return (2.0 * bits - 1.0).reshape(rows, columns)


def layer_signs(fleet_seed: int, layer: str, outputs: int, inputs: int) -> Tensor:
    """Return a layer's targets, float32 ``[outputs, inputs]`` of +-1: the same on every chip of a fleet."""
    return keyed_signs(outputs, inputs, fleet_seed, f"backbone.{layer}")


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
    """Program the signs of a layer into every node's crossbars; charged to `Phase.PROGRAM`.

    `input_rms` is as of `Crossbar.program`.
    """
    return Crossbar.program(
        layer_signs(fleet_seed, layer, outputs, inputs),
        preset,
        fleet_seed=fleet_seed,
        nodes=node_ids,
        layer=layer,
        input_rms=input_rms,
        ledger=ledger,
    )
