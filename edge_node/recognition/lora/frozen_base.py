"""Frozen network that an adapter fits: its layers, and a digest of its weights."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from edge_node.errors import AdapterBaseError, AdapterShapeError, AdapterSpecError, AdapterValueError

_DOMAIN = b"reram-fleet/frozen-base/v1\0"
_TASK = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LONGEST_NAME = 200
_MATRIX, _CONVOLUTION = 2, 4


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """One frozen weight matrix.

    Attributes
    ----------
    inputs, outputs
        Of the matrix; a convolution has ``C kh kw`` inputs.
    norm
        Frobenius norm of the frozen weights: what the size of an adapter is measured against.
    kernel
        ``(C, kh, kw)`` of a convolution, whose inputs are flattened in that order; empty otherwise.
    """

    inputs: int
    outputs: int
    norm: float
    kernel: tuple[int, ...] = ()


@dataclass(frozen=True)
class FrozenBase:
    """Layers of one network that adapters may change, by module path in sorted order, and what identifies them.

    Attributes
    ----------
    digest
        SHA-256 of the weights as they were to be programmed, 64 hexadecimal digits: the same for every chip of a fleet,
        since a chip's own programming error is not part of it.
    """

    task: str
    digest: str
    layers: Mapping[str, BaseLayer]

    @classmethod
    def of(cls, task: str, weights: Mapping[str, Tensor]) -> FrozenBase:
        """Describe a network by its frozen weights.

        `AdapterSpecError` if the task or a layer has an impossible name; `AdapterShapeError` if there is no layer, or
        one is not a matrix or a convolution; `AdapterValueError` if a weight is not finite.

        Parameters
        ----------
        task
            Lower-case letters, digits and hyphens.
        weights
            By module path: ``[out, in]`` of linear layers, ``[out, C, kh, kw]`` of convolutions without
            groups. The digest is over the bits of their float32 values.
        """
        if not _TASK.fullmatch(task):
            raise AdapterSpecError(f"{task!r} cannot name a task: use 1 to 64 lower-case letters, digits and hyphens")
        if not weights:
            raise AdapterShapeError("a frozen base needs at least one layer; got none")
        hashed = hashlib.sha256(_DOMAIN)
        layers = {}
        for name in sorted(weights):
            layers[name] = layer = _layer(name, weights[name])
            matrix = weights[name].detach().to("cpu", torch.float32).reshape(layer.outputs, layer.inputs)
            hashed.update(struct.pack("<Q", len(name.encode())) + name.encode())
            hashed.update(struct.pack("<QQ", layer.outputs, layer.inputs))
            hashed.update(matrix.contiguous().numpy().astype("<f4").tobytes())
        return cls(task, hashed.hexdigest(), MappingProxyType(layers))

    def layer(self, name: str) -> BaseLayer:
        """Return a layer; `AdapterShapeError` if the network has none of this name."""
        if name not in self.layers:
            raise AdapterShapeError(
                f"the {self.task} network has no layer {name[:_LONGEST_NAME]!r}; expected one of "
                f"{', '.join(self.layers)}"
            )
        return self.layers[name]

    def check_same(self, task: str, digest: str) -> None:
        """Refuse what was made for another network; `AdapterBaseError` if the task or the digest differs."""
        if task != self.task:
            raise AdapterBaseError(f"the adapter was made for another task: expected {self.task}, got {task}")
        if digest != self.digest:
            raise AdapterBaseError(
                f"the adapter was made for another frozen backbone of {task}: expected base digest "
                f"{self.digest}, got {digest}"
            )


def _layer(name: str, weight: Tensor) -> BaseLayer:
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable()):
        raise AdapterSpecError(f"a layer's name has 1 to {_LONGEST_NAME} printable characters; got {name!r}")
    if weight.ndim not in (_MATRIX, _CONVOLUTION) or weight.numel() == 0:
        raise AdapterShapeError(
            f"layer {name!r}: expected weights [out, in] or [out, C, kh, kw], got {list(weight.shape)}"
        )
    norm = float(torch.linalg.vector_norm(weight.detach().to("cpu", torch.float64)))
    if not math.isfinite(norm):
        raise AdapterValueError(f"layer {name!r} of the frozen base has weights that are not finite")
    kernel = tuple(weight.shape[1:]) if weight.ndim == _CONVOLUTION else ()
    return BaseLayer(math.prod(weight.shape[1:]), weight.shape[0], norm, kernel)
