"""Transformer on the crossbars of N nodes, with room for corrections beside its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from edge_node.errors import AdapterError
from edge_node.generation.diffusion import STEPS, from_colour_levels, keyed_noise, noised
from edge_node.generation.dit import BLOCKS, NULL_PROMPT, LabelTable, prompts_of
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import TrainedBackbone
from hwmodel import EnergyLedger, Preset, ProgrammedModel, program
from hwmodel.nn import AnalogLayer, Correction, Meter

#: Name of the label table among the layers that adapters may change.
LABELS = "labels"
#: The crossbars that adapters change, in every block.
BLOCK_LAYERS = tuple(
    f"blocks.{block}.{name}" for block in range(BLOCKS) for name in ("ada", "fc1", "fc2", "out", "qkv")
)

#: Images that the ranges of the converters are fixed on, and of how many of them one has no label.
_CALIBRATION_IMAGES, _UNTOLD = 200, 8


@dataclass(frozen=True, eq=False)
class Generator:
    """Trained transformer, and the chips of N nodes that it was programmed into."""

    backbone: TrainedBackbone
    chips: ProgrammedModel

    @classmethod
    def program(
        cls,
        backbone: TrainedBackbone,
        preset: Preset,
        fleet_seed: int,
        nodes: Sequence[str],
        *,
        examples: LabelledImages,
        ledger: EnergyLedger | None = None,
    ) -> Self:
        """Program a trained transformer into every node's crossbars; charged to `Phase.PROGRAM`.

        Parameters
        ----------
        backbone, preset, fleet_seed, nodes
            What, in which technology, on which chips.
        examples
            Public images: they fix the ranges of the converters.
        ledger
            Charged by everything that follows; a new one if None.
        """
        ledger = ledger if ledger is not None else EnergyLedger(len(nodes))
        chips = program(
            backbone.model, preset, fleet_seed, nodes=nodes, ledger=ledger, calibration=_calibration(examples)
        )
        generator = cls(backbone, chips)
        generator._labels.nodes = len(nodes)
        return generator

    @property
    def nodes(self) -> int:
        """Length of the node axis."""
        return len(self.chips.nodes)

    @property
    def ledger(self) -> EnergyLedger:
        """What everything is charged to."""
        return self.chips.ledger

    @property
    def meter(self) -> Meter:
        """What branches beside the crossbars are charged by."""
        return next(iter(self.chips.analog.values())).meter

    @contextmanager
    def attached(self, corrections: Mapping[str, Correction]) -> Iterator[None]:
        """Let these corrections act inside the ``with`` block, by layer, and nothing else.

        `AdapterError` if there is no such layer.
        """
        layers: dict[str, AnalogLayer | LabelTable] = dict(self.chips.analog)
        layers[LABELS] = self._labels
        if unknown := sorted(set(corrections) - set(layers)):
            raise AdapterError(f"the chips have no layers {unknown}; they have: {', '.join(layers)}")
        before = {name: layer.correction for name, layer in layers.items()}
        try:
            for name, layer in layers.items():
                layer.correction = corrections.get(name)
            yield
        finally:
            for name, layer in layers.items():
                layer.correction = before[name]

    @property
    def _labels(self) -> LabelTable:
        table = self.chips.module.get_submodule(LABELS)
        assert isinstance(table, LabelTable)
        return table


def _calibration(examples: LabelledImages) -> list[Tensor]:
    """Return inputs of the transformer as sampling gives it: every step, each class and style, and no prompt."""
    picked = torch.linspace(0, len(examples.labels) - 1, _CALIBRATION_IMAGES).long()
    steps = torch.arange(_CALIBRATION_IMAGES) % STEPS + 1
    asked = prompts_of(examples.labels[picked], examples.styles[picked])
    asked[::_UNTOLD] = NULL_PROMPT
    noise = keyed_noise(0, "images.calibration", count=_CALIBRATION_IMAGES)
    return [noised(from_colour_levels(examples.levels[picked]), steps, noise), steps, asked]
