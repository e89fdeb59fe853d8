"""Gradient training of a LoRA beside the chips' crossbars: what subject adapters and erasures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.generation.dit import TOKENS
from edge_node.generation.generator import LABELS, Generator
from edge_node.generation.training import Progress
from edge_node.recognition.lora.adapter import AdapterKind, LoraAdapter, LoraSpec
from edge_node.recognition.lora.storage import Storage
from hwmodel import ConverterError, Cost, Phase, cost, keyed_generator, keyed_normal
from hwmodel.nn import Correction

#: Layers in front of the condition and of the first block: no gradient has to cross them.
_IN_FRONT = ("embed", "time1", "time2")
#: SRAM accesses that Adam makes to each parameter per step.
_ADAM_ACCESSES = 6


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """How a LoRA is trained.

    Attributes
    ----------
    rank, alpha
        Of every layer.
    steps
        Of Adam.
    batch
        Images per step on each node.
    learning_rate
        At the first step; a half cosine takes it down to nothing.
    storage
        Number format that it is rounded to when it is trained.
    """

    rank: int = 8
    alpha: float = 16.0
    steps: int = 500
    batch: int = 8
    learning_rate: float = 3e-3
    storage: Storage = Storage.INT8


@dataclass(eq=False, slots=True)
class _Factors:
    """The factors of one layer while they are trained, float32."""

    a: Tensor
    b: Tensor
    scaling: float
    correction: Correction = field(init=False)

    def __post_init__(self) -> None:
        self.correction = lambda vectors: (vectors @ self.a.mT) @ self.b.mT * self.scaling


def fit_lora(
    generator: Generator,
    name: str,
    kind: AdapterKind,
    layers: Sequence[str],
    seed: int,
    recipe: LoraRecipe,
    loss: Callable[[torch.Generator], Tensor],
    *,
    progress: Progress | None = None,
) -> LoraAdapter:
    """Train a LoRA on the chips, from nothing, and return it as it is stored.

    The nodes train one adapter: their gradients are averaged at every step, as a federated round of one step
    does. While it is trained no other adapter acts, so that it depends on none. All that is random is drawn
    from a stream of (seed, name, step).

    Parameters
    ----------
    generator
        The chips; its bank is not changed.
    name, kind
        Of the adapter.
    layers
        That it changes.
    seed, recipe
        Of its first factors and of its steps.
    loss
        What to make small: called once per step with the step's stream, while the LoRA acts. It is the mean
        over all nodes.
    progress
        DemoResult after every step.

    Raises
    ------
    EngineError
        If training diverges.
    """
    base = generator.backbone.base
    trained = {
        layer: _first_factors(name, layer, base.layer(layer).inputs, base.layer(layer).outputs, seed, recipe)
        for layer in layers
    }
    parameters = [factor for pair in trained.values() for factor in (pair.a, pair.b)]
    adam = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    corrections = {layer: pair.correction for layer, pair in trained.items()}
    with generator.chips.charging(Phase.TRAIN), generator.attached(corrections):
        for step in range(recipe.steps):
            for group in adam.param_groups:
                group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            try:
                value = loss(keyed_generator(seed, "images.lora.step", name, step))
            except ConverterError as error:
                # What is not finite has no DAC code: the chips notice first.
                raise EngineError(
                    f"training of {name} diverged at step {step}: lower the learning rate {recipe.learning_rate}"
                ) from error
            adam.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress(step + 1, recipe.steps)
    spent = digital_cost(generator, layers, rank=recipe.rank, batch=recipe.batch, steps=recipe.steps, train_a=True)
    generator.ledger.charge(Phase.TRAIN, spent)
    spec = LoraSpec(
        name=name,
        kind=kind,
        task=base.task,
        base_digest=base.digest,
        layers=tuple(sorted(layers)),
        rank=recipe.rank,
        alpha=recipe.alpha,
        storage=recipe.storage,
    )
    return LoraAdapter.build(
        spec,
        base,
        a={layer: pair.a for layer, pair in trained.items()},
        b={layer: pair.b for layer, pair in trained.items()},
    )


def _first_factors(name: str, layer: str, inputs: int, outputs: int, seed: int, recipe: LoraRecipe) -> _Factors:
    """Return a random A, whose products are as large as its inputs, and B = 0: no change yet."""
    drawn = keyed_normal(seed, "images.lora.a", name, layer, count=recipe.rank * inputs)
    a = (drawn / math.sqrt(inputs)).float().view(recipe.rank, inputs).requires_grad_()
    b = torch.zeros(outputs, recipe.rank, requires_grad=True)
    return _Factors(a, b, recipe.alpha / recipe.rank)


def digital_cost(
    generator: Generator, layers: Sequence[str], *, rank: int, batch: int, steps: int, train_a: bool
) -> Cost:
    """Return what training takes on each node beside the products of the forward pass, which chips charge.

    LoRA arithmetic and Adam in digital; and the gradient's way back through each crossbar behind the
    condition, as one product with its transpose.
    """
    preset, base = generator.chips.preset, generator.backbone.base
    total = Cost()
    for layer in generator.chips.layers:
        if layer.name not in _IN_FRONT:
            total += cost.crossbar_mvm(preset, layer.outputs, layer.inputs, _vectors(layer.name, batch))
    for name in layers:
        total += cost.lora_training_step(
            preset,
            inputs=base.layer(name).inputs,
            outputs=base.layer(name).outputs,
            rank=rank,
            samples=_vectors(name, batch),
            train_a=train_a,
            accesses_per_parameter=_ADAM_ACCESSES,
        )
    return total * steps


def _vectors(layer: str, batch: int) -> int:
    """Return the vectors that a layer multiplies for a batch: conditions are one per image, else tokens."""
    return batch if layer == LABELS or layer.split(".")[-1] == "ada" else batch * TOKENS
