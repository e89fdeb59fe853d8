"""The transformer on the crossbars of N nodes, with the adapters that are active beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import AdapterError, EngineError
from edge_node.generation.diffusion import STEPS, Sampling, from_grey_levels, keyed_noise, noised, on_chips, sample
from edge_node.generation.dit import BLOCKS, CLASSES, IMAGE_SIDE, NULL_LABEL, LabelTable
from edge_node.generation.training import TrainedBackbone
from edge_node.recognition.lora.adapter import AdapterKind, LoraAdapter
from edge_node.recognition.lora.bank import LoraBank
from edge_node.recognition.lora.branch import LoraBranch
from hwmodel import EnergyLedger, Phase, Preset, ProgrammedModel, program
from hwmodel.nn import AnalogLayer, Correction, Meter

#: Name of the label table among the layers that adapters may change.
LABELS = "labels"
#: The crossbars that adapters change, in every block.
BLOCK_LAYERS = tuple(
    f"blocks.{block}.{name}" for block in range(BLOCKS) for name in ("ada", "fc1", "fc2", "out", "qkv")
)

#: Images that the ranges of the converters are fixed on, and of how many of them one has no label.
_CALIBRATION_IMAGES, _UNTOLD = 200, 8


def subject_name(label: int) -> str:
    """Return the name of the adapter of a private class: ``"class-7"``."""
    return f"class-{label}"


@dataclass(frozen=True, eq=False, slots=True)
class Generator:
    """Chips that draw images, and the bank of their adapters.

    An adapter of a class acts only while that class is drawn; a shared one always. So nothing that is drawn
    of one class depends on whether another is enrolled.

    Attributes
    ----------
    backbone
        What was programmed.
    chips
        The programmed transformer.
    bank
        The active adapters, the same on every node.
    """

    backbone: TrainedBackbone
    chips: ProgrammedModel
    bank: LoraBank

    @classmethod
    def program(
        cls,
        backbone: TrainedBackbone,
        preset: Preset,
        fleet_seed: int,
        nodes: Sequence[str],
        *,
        examples: tuple[Tensor, Tensor],
        ledger: EnergyLedger | None = None,
    ) -> Generator:
        """Program a trained transformer into every node's crossbars; charged to `Phase.PROGRAM`.

        Parameters
        ----------
        backbone, preset, fleet_seed, nodes
            What, in which technology, on which chips.
        examples
            Public images, uint8 ``[B, 8, 8]``, and their labels, int64 ``[B]``: they fix the ranges of the
            converters.
        ledger
            Charged by everything that follows; a new one if None.
        """
        ledger = ledger if ledger is not None else EnergyLedger(len(nodes))
        chips = program(
            backbone.model, preset, fleet_seed, nodes=nodes, ledger=ledger, calibration=_calibration(*examples)
        )
        generator = cls(backbone, chips, LoraBank(backbone.base, preset, ledger))
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

    def install(self, adapter: LoraAdapter) -> None:
        """Make an adapter active on all nodes.

        Raises
        ------
        EngineError
            If it is for a class that the backbone was trained on: removing it would forget nothing.
        AdapterError
            As `LoraBank.install`.
        """
        owned = [subject_name(label) for label in sorted(self.backbone.trained_on)]
        if adapter.spec.kind is AdapterKind.SUBJECT and adapter.spec.name in owned:
            raise EngineError(
                f"{adapter.spec.name} cannot be enrolled: the backbone was trained on this class, so that "
                "destroying its adapter would forget nothing; hold the class out of the backbone"
            )
        self.bank.install(adapter)

    def forget(self, label: int) -> bool:
        """Destroy the adapter of a class; False if there was none. Exact: nothing else depends on it."""
        return self.bank.remove(subject_name(label)) > 0

    def digest(self, node: int = 0) -> bytes:
        """Return the SHA-256 over the bits of a node's active adapters."""
        return self.bank.digest(node)

    def generate(
        self, labels: Tensor, noise: Tensor, *, sampling: Sampling | None = None, phase: Phase = Phase.INFER
    ) -> Tensor:
        """Draw images on every node.

        Parameters
        ----------
        labels
            Class of each, int64 ``[B]``, the same on all nodes.
        noise
            What each starts from, float32 ``[N, B, 8, 8]``.
        sampling
            Steps and guidance.
        phase
            What the work is charged to.

        Returns
        -------
        Tensor
            Grey levels, uint8 ``[N, B, 8, 8]`` of 0 to 16.

        Raises
        ------
        EngineError
            If a class does not exist, or the noise is not one image per node and label.
        """
        expected = (self.nodes, len(labels), IMAGE_SIDE, IMAGE_SIDE)
        if noise.shape != expected:
            raise EngineError(f"drawing {len(labels)} images takes noise {expected}; got {tuple(noise.shape)}")
        if unknown := sorted(set(labels.tolist()) - set(range(NULL_LABEL + 1))):
            raise EngineError(f"there are no classes {unknown}: expected 0 to {CLASSES - 1}, or {NULL_LABEL} for none")
        drawn = torch.empty(noise.shape, dtype=torch.uint8)
        held = {adapter.spec.name for adapter in self.bank.adapters(0, AdapterKind.SUBJECT)}
        alone = [label for label in sorted(set(labels.tolist())) if subject_name(label) in held]
        groups = [labels == label for label in alone]
        groups.append(~torch.isin(labels, torch.tensor(alone, dtype=labels.dtype)))
        for group in groups:
            if not bool(group.any()):
                continue
            mine = labels[group]
            with self.chips.charging(phase), self.serving(self._active(int(mine[0]))):
                drawn[:, group] = sample(on_chips(self.chips), noise[:, group], mine.expand(self.nodes, -1), sampling)
        return drawn

    @contextmanager
    def serving(self, adapters: Iterable[LoraAdapter]) -> Iterator[None]:
        """Let these adapters act inside the ``with`` block, and nothing else."""
        branches: dict[str, list[Correction]] = {}
        for adapter in adapters:
            for name in adapter.spec.layers:
                branches.setdefault(name, []).append(self._branch(adapter, name))
        with self.attached({name: _summed(parts) for name, parts in branches.items()}):
            yield

    @contextmanager
    def attached(self, corrections: Mapping[str, Correction]) -> Iterator[None]:
        """Let these corrections act inside the ``with`` block, by layer, and nothing else.

        Raises
        ------
        AdapterError
            If there is no such layer.
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

    def _active(self, label: int) -> tuple[LoraAdapter, ...]:
        subject = subject_name(label)
        return tuple(
            adapter
            for adapter in self.bank.adapters(0)
            if adapter.spec.kind is not AdapterKind.SUBJECT or adapter.spec.name == subject
        )

    def _branch(self, adapter: LoraAdapter, layer: str) -> LoraBranch:
        a, b = adapter.factors(layer, self.backbone.base.layer(layer).inputs)
        return LoraBranch(
            a.float()[None],
            (adapter.spec.scaling * b).float()[None],
            adapter.spec.storage,
            self.chips.preset,
            self.meter,
        )

    @property
    def _labels(self) -> LabelTable:
        table = self.chips.module.get_submodule(LABELS)
        assert isinstance(table, LabelTable)
        return table

    @property
    def meter(self) -> Meter:
        """What branches beside the crossbars are charged by."""
        return next(iter(self.chips.analog.values())).meter


def _summed(parts: Sequence[Correction]) -> Correction:
    if len(parts) == 1:
        return parts[0]
    return lambda vectors: sum((part(vectors) for part in parts[1:]), parts[0](vectors))


def _calibration(levels: Tensor, labels: Tensor) -> list[Tensor]:
    """Return inputs of the transformer as sampling gives it: every step, each class, and no class."""
    picked = torch.linspace(0, len(levels) - 1, _CALIBRATION_IMAGES).long()
    steps = torch.arange(_CALIBRATION_IMAGES) % STEPS + 1
    told = labels[picked].clone()
    told[::_UNTOLD] = NULL_LABEL
    noise = keyed_noise(0, "images.calibration", count=_CALIBRATION_IMAGES)
    return [noised(from_grey_levels(levels[picked]), steps, noise), steps, told]
