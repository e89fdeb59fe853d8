"""Named LoRA adapter: what it says about itself, and its factors of some layers of one network.

Of a frozen layer ``y = W x`` it makes ``y = W x + alpha / rank * B (A x)`` (Hu et al., "LoRA", ICLR 2022,
arXiv 2106.09685) with A ``[rank, in]`` and B ``[out, rank]``.
"""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from edge_node.errors import AdapterShapeError, AdapterSpecError, AdapterValueError
from edge_node.recognition.lora.frozen_base import BaseLayer, FrozenBase
from edge_node.recognition.lora.output_layer import frozen_factor
from fleet.lab.exchange.storage import StoredMatrix
from hwmodel import Precision

#: Largest rank of an adapter. The paper's are 4, 6 and 8.
MAX_RANK = 256
#: Largest ``alpha / rank * |B| |A|`` of a layer (Frobenius norms), in norms of its frozen weights.
#: Gradient ascent on the paper's mixer (r = 6, Adam at .01) makes 0.5 in 16 steps and 1.7 in 300.
MAX_RELATIVE_NORM = 100.0

_DOMAIN = b"reram-fleet/lora-adapter/v1\0"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class LoraKind(StrEnum):
    """Kind of a LoRA by whom it is about, which decides how it is forgotten."""

    #: One chip's differences from the ideal; public data only.
    CALIBRATION = "calibration"
    #: One person.
    SUBJECT = "subject"
    #: A fixed cohort of people: a shard.
    COHORT = "cohort"
    #: Everybody.
    SHARED = "shared"

    @property
    def personal(self) -> bool:
        """Whether it depends on enrolled people."""
        return self is not LoraKind.CALIBRATION


@dataclass(frozen=True)
class LoraSpec:
    """Description that an adapter gives of itself: everything but the numbers.

    `AdapterSpecError` if one of them is impossible; `AdapterShapeError` if the rank is beyond `MAX_RANK`, or there are
    no layers.

    Attributes
    ----------
    name
        Unique on a node; lower-case letters, digits and hyphens, at most 64.
    kind
        Whom it is about.
    task, base_digest
        The frozen network that it fits, as in `FrozenBase`.
    layers
        Module paths of the layers that it changes; sorted, unique.
    rank, alpha
        Of every layer; the branch is scaled by ``alpha / rank``.
    storage
        Number format of the factors.
    a_seed
        Seed from which A is drawn, if it is frozen; then only B is stored. None if A is stored too.
    built_at_generation
        Generation of the forget log up to which forgotten people are not in it.
    """

    name: str
    kind: LoraKind
    task: str
    base_digest: str
    layers: tuple[str, ...]
    rank: int
    alpha: float
    storage: Precision = Precision.FP32
    a_seed: int | None = None
    built_at_generation: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise AdapterSpecError(
                f"{self.name[:80]!r} cannot name an adapter: use 1 to 64 lower-case letters, digits and hyphens"
            )
        if not _DIGEST.fullmatch(self.base_digest):
            raise AdapterSpecError(
                f"a base digest has 64 hexadecimal digits; adapter {self.name} has {self.base_digest[:80]!r}"
            )
        if not 1 <= self.rank <= MAX_RANK:
            raise AdapterShapeError(f"adapter {self.name}: expected rank 1 to {MAX_RANK}, got {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise AdapterSpecError(f"adapter {self.name}: expected alpha above 0, got {self.alpha}")
        if self.a_seed is not None and not 0 <= self.a_seed < 2**64:
            raise AdapterSpecError(f"adapter {self.name}: a_seed has 64 bits; got {self.a_seed}")
        if not 0 <= self.built_at_generation < 2**64:
            raise AdapterSpecError(
                f"adapter {self.name}: a generation is 0 to 2^64 - 1; got {self.built_at_generation}"
            )
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise AdapterShapeError(
                f"adapter {self.name}: expected layer names, sorted and each once; got {reprlib.repr(self.layers)}"
            )

    @property
    def scaling(self) -> float:
        """``alpha / rank``."""
        return self.alpha / self.rank

    def check_fits(self, base: FrozenBase) -> None:
        """Refuse what does not fit a network, knowing only what the adapter says about itself.

        `AdapterBaseError` if it was made for another task or backbone; `AdapterShapeError` if a layer is not in the
        network, or the rank is larger than both sides of its matrix.
        """
        base.check_same(self.task, self.base_digest)
        for name in self.layers:
            layer = base.layer(name)
            if self.rank > max(layer.inputs, layer.outputs):
                raise AdapterShapeError(
                    f"adapter {self.name}: rank {self.rank} is larger than both sides of layer {name!r} "
                    f"({layer.outputs} x {layer.inputs})"
                )

    def factor_shapes(self, layer: BaseLayer) -> dict[str, tuple[int, int]]:
        """Return the shapes of a layer's stored factors: ``"lora_A"``, unless frozen, and ``"lora_B"``."""
        shapes = {"lora_B": (layer.outputs, self.rank)}
        return shapes if self.a_seed is not None else {"lora_A": (self.rank, layer.inputs), **shapes}


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """LoRA of some layers of one network: B ``[out, rank]`` of each, and A ``[rank, in]`` unless it is frozen."""

    spec: LoraSpec
    b: Mapping[str, StoredMatrix]
    a: Mapping[str, StoredMatrix]

    @classmethod
    def build(
        cls, spec: LoraSpec, base: FrozenBase, *, b: Mapping[str, Tensor], a: Mapping[str, Tensor] | None = None
    ) -> LoraAdapter:
        """Store trained factors, floats by layer, in the format that the spec names; A is left out if it is frozen.

        `AdapterError` as `check_fits`; `AdapterValueError` also if a value does not fit into the format.
        """
        adapter = cls(
            spec,
            MappingProxyType({name: StoredMatrix.of(b[name], spec.storage) for name in sorted(b)}),
            MappingProxyType({name: StoredMatrix.of(m, spec.storage) for name, m in sorted((a or {}).items())}),
        )
        adapter.check_fits(base)
        return adapter

    def check_fits(self, base: FrozenBase) -> None:
        """Refuse an adapter that does not fit a network; change nothing.

        `AdapterBaseError` or `AdapterShapeError` as `LoraSpec.check_fits`, and if a factor is missing, superfluous or
        of another shape; `AdapterValueError` if the change to a layer is more than `MAX_RELATIVE_NORM` times the layer
        itself.
        """
        self.spec.check_fits(base)
        stored = {"lora_A": self.a, "lora_B": self.b}
        for factor, matrices in stored.items():
            expected = () if factor == "lora_A" and self.spec.a_seed is not None else self.spec.layers
            if tuple(sorted(matrices)) != expected:
                raise AdapterShapeError(
                    f"adapter {self.spec.name}: expected {factor} of layers {list(expected)}, got {sorted(matrices)}"
                )
        for name in self.spec.layers:
            layer = base.layer(name)
            for factor, shape in self.spec.factor_shapes(layer).items():
                matrix = stored[factor][name]
                if tuple(matrix.codes.shape) != shape or matrix.storage is not self.spec.storage:
                    raise AdapterShapeError(
                        f"adapter {self.spec.name}, {factor} of layer {name!r}: expected {list(shape)} as "
                        f"{self.spec.storage.value}, got {list(matrix.codes.shape)} as {matrix.storage.value}"
                    )
            self._check_norm(name, layer)

    def factors(self, layer: str, inputs: int) -> tuple[Tensor, Tensor]:
        """Return A ``[rank, in]`` and B ``[out, rank]`` of a layer with so many inputs, float64, unscaled."""
        b = self.b[layer].values()
        if self.spec.a_seed is not None:
            return frozen_factor(self.spec.a_seed, layer, self.spec.rank, inputs), b
        return self.a[layer].values(), b

    @property
    def byte_count(self) -> int:
        """Bytes of all stored factors: what they take in SRAM."""
        return sum(m.byte_count for part in (self.a, self.b) for m in part.values())

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over everything that acts: the bits of the factors, and how and beside what they act.

        Without name, kind and generation: one that is rebuilt after a forget can be compared with one that never knew
        the person, and one that is read from a file with the one that was written.
        """
        spec = self.spec
        seed = b"" if spec.a_seed is None else struct.pack("<Q", spec.a_seed)
        texts = (spec.task, spec.base_digest, spec.storage.value)
        parts = [*(text.encode() for text in texts), struct.pack("<Id", spec.rank, spec.alpha), seed]
        for name in spec.layers:
            parts += [name.encode(), self.b[name].to_bytes()]
            parts += [self.a[name].to_bytes()] if spec.a_seed is None else []
        hashed = hashlib.sha256(_DOMAIN)
        for part in parts:
            hashed.update(struct.pack("<Q", len(part)) + part)
        return hashed.digest()

    def _check_norm(self, name: str, layer: BaseLayer) -> None:
        a, b = self.factors(name, layer.inputs)
        norm = self.spec.scaling * float(torch.linalg.vector_norm(a)) * float(torch.linalg.vector_norm(b))
        limit = MAX_RELATIVE_NORM * (layer.norm or 1.0)
        if not norm <= limit:
            raise AdapterValueError(
                f"adapter {self.spec.name}: the change to layer {name!r} has norm up to {norm:.3g}; expected "
                f"at most {limit:.3g}, {MAX_RELATIVE_NORM:g} times that of the layer"
            )


def cohort_name(shard: int) -> str:
    """Return the name of the adapter of a cohort shard: ``"cohort-0003"``.

    `AdapterSpecError` if the shard is negative.
    """
    if shard < 0:
        raise AdapterSpecError(f"shards count from 0; got {shard}")
    return f"cohort-{shard:04d}"
