"""Chips that generate images, with a bank of named adapters beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.diffusion import Sampling, on_chips, sample
from edge_node.generation.dit import IMAGE_SHAPE, NULL_PROMPT, STYLES
from edge_node.generation.generator import Generator
from edge_node.recognition.lora.branch import LoraBranch
from fleet.lab.lora.adapter import LoraAdapter, LoraKind
from fleet.lab.lora.bank import LoraBank
from hwmodel import Phase
from hwmodel.nn import Correction


def subject_name(label: int) -> str:
    """Return the name of the adapter of a private class: ``"class-7"``."""
    return f"class-{label}"


@dataclass(frozen=True, eq=False)
class AdaptedGenerator(Generator):
    """Generator with named adapters, the same on every node.

    An adapter of a class acts only while that class is generated; a shared one always. So nothing that is generated of
    one class depends on whether another is enrolled.
    """

    @cached_property
    def bank(self) -> LoraBank:
        """The active adapters."""
        return LoraBank(self.backbone.base, self.chips.preset, self.ledger)

    def install(self, adapter: LoraAdapter) -> None:
        """Make an adapter active on all nodes.

        `EngineError` if it is for a class that the backbone was trained on: removing it would forget nothing;
        `AdapterError` as `LoraBank.install`.
        """
        owned = [subject_name(label) for label in sorted(self.backbone.trained_on)]
        if adapter.spec.kind is LoraKind.SUBJECT and adapter.spec.name in owned:
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
        self, prompts: Tensor, noise: Tensor, *, sampling: Sampling | None = None, phase: Phase = Phase.INFER
    ) -> Tensor:
        """Generate images on every node: colour levels, uint8 ``[N, B, 24, 24, 3]`` of 0 to 255.

        `EngineError` if a prompt does not exist, or the noise is not one image per node and prompt.

        Parameters
        ----------
        prompts
            Class and style of each, int64 ``[B]``, the same on all nodes.
        noise
            What each starts from, float32 ``[N, B, 24, 24, 3]``.
        sampling
            Steps and guidance.
        phase
            What the work is charged to.
        """
        expected = (self.nodes, len(prompts), *IMAGE_SHAPE)
        if noise.shape != expected:
            raise EngineError(f"generating {len(prompts)} images takes noise {expected}; got {tuple(noise.shape)}")
        if unknown := sorted(set(prompts.tolist()) - set(range(NULL_PROMPT + 1))):
            raise EngineError(f"there are no prompts {unknown}: expected 0 to {NULL_PROMPT}, which says nothing")
        labels = prompts // (STYLES + 1)
        levels = torch.empty(noise.shape, dtype=torch.uint8)
        held = {adapter.spec.name for adapter in self.bank.adapters(0, LoraKind.SUBJECT)}
        alone = [label for label in sorted(set(labels.tolist())) if subject_name(label) in held]
        groups = [labels == label for label in alone]
        groups.append(~torch.isin(labels, torch.tensor(alone, dtype=labels.dtype)))
        for group in groups:
            if not bool(group.any()):
                continue
            mine = prompts[group].expand(self.nodes, -1)
            with self.chips.charging(phase), self.serving(self._active(int(labels[group][0]))):
                levels[:, group] = sample(on_chips(self.chips), noise[:, group], mine, sampling)
        return levels

    @contextmanager
    def serving(self, adapters: Iterable[LoraAdapter]) -> Iterator[None]:
        """Let these adapters act inside the ``with`` block, and nothing else."""
        branches: dict[str, list[Correction]] = {}
        for adapter in adapters:
            for name in adapter.spec.layers:
                branches.setdefault(name, []).append(self._branch(adapter, name))
        with self.attached({name: _summed(parts) for name, parts in branches.items()}):
            yield

    def _active(self, label: int) -> tuple[LoraAdapter, ...]:
        subject = subject_name(label)
        return tuple(
            adapter
            for adapter in self.bank.adapters(0)
            if adapter.spec.kind is not LoraKind.SUBJECT or adapter.spec.name == subject
        )

    def _branch(self, adapter: LoraAdapter, layer: str) -> LoraBranch:
        a, b = adapter.factors(layer, self.backbone.base.layer(layer).inputs)
        scaled = (adapter.spec.scaling * b).float()[None]
        return LoraBranch(a.float()[None], scaled, adapter.spec.storage, self.chips.preset, self.meter)


def _summed(parts: Sequence[Correction]) -> Correction:
    if len(parts) == 1:
        return parts[0]
    return lambda vectors: sum((part(vectors) for part in parts[1:]), parts[0](vectors))
