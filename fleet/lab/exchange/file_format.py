"""An adapter as the bytes of a safetensors file, and back, trusting nothing that the bytes say.

The header's metadata hold one text, JSON with the fields of `LoraSpec`, a format version and the digest of
the content: one text, since safetensors writes several in random order. Tensors are named
``<layer>.lora_A``, ``<layer>.lora_B`` and, for int8, ``<layer>.lora_A.scale`` and ``<layer>.lora_B.scale``.

Refusals go from what needs least to what needs most: sizes, header, the adapter's own word against the
network, shapes; only then are tensors made, and their numbers and digest checked.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from edge_node.errors import AdapterFileError, AdapterShapeError, AdapterSpecError, AdapterStaleError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange.safetensors_header import (
    MAX_HEADER_BYTES,
    SafetensorsHeader,
    TensorEntry,
    read_header,
    shown,
    strict_json,
)
from fleet.lab.lora.adapter import MAX_RANK, LoraAdapter, LoraKind, LoraSpec
from fleet.lab.lora.storage import StoredMatrix
from hwmodel import Precision

FORMAT_VERSION = 1

_METADATA = "reram_fleet.adapter"
_SCALE = ".scale"
_DTYPES = {Precision.INT8: "I8", Precision.FP16: "F16", Precision.FP32: "F32"}
#: JSON type of each field of the metadata; bool is no int here.
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "format_version": (int,),
    "name": (str,),
    "kind": (str,),
    "task": (str,),
    "base_digest": (str,),
    "layers": (list,),
    "rank": (int,),
    "alpha": (int, float),
    "storage": (str,),
    "a_seed": (int, type(None)),
    "built_at_generation": (int,),
    "content_digest": (str,),
}


def largest_file_bytes(base: FrozenBase) -> int:
    """Return an upper bound of the files of a network's adapters: every layer, both factors, fp32."""
    numbers = sum(
        min(MAX_RANK, max(layer.inputs, layer.outputs)) * (layer.inputs + layer.outputs)
        for layer in base.layers.values()
    )
    return 4 * numbers + MAX_HEADER_BYTES + 8


def encode_adapter(adapter: LoraAdapter) -> bytes:
    """Return an adapter as a safetensors file, in the clear; the same bytes for the same adapter."""
    metadata = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(adapter.spec),
        "content_digest": adapter.digest.hex(),
    }
    tensors: dict[str, Tensor] = {}
    for factor, matrices in (("lora_A", adapter.a), ("lora_B", adapter.b)):
        for layer, matrix in matrices.items():
            tensors[f"{layer}.{factor}"] = _own(matrix.codes)
            if matrix.scales is not None:
                tensors[f"{layer}.{factor}{_SCALE}"] = _own(matrix.scales)
    return safetensors.torch.save(tensors, {_METADATA: json.dumps(metadata, sort_keys=True)})


def decode_adapter(content: bytes, base: FrozenBase, *, oldest_generation: int = 0) -> LoraAdapter:
    """Read a file that fits a network.

    Parameters
    ----------
    content
        The whole file, in the clear.
    base
        The network.
    oldest_generation
        The generation that the node has suppressed: an adapter about people that was built before it may
        hold somebody forgotten. Calibration depends on nobody and is never too old.

    Raises
    ------
    AdapterFileError, AdapterSpecError
        If the file is not what it says, or says what cannot be.
    AdapterBaseError, AdapterShapeError, AdapterStaleError
        If it does not fit the network, or is too old.
    AdapterValueError
        If numbers are not finite or too large.
    """
    if len(content) > (limit := largest_file_bytes(base)):
        raise AdapterFileError(
            f"the file has {len(content)} bytes; expected at most {limit} for any adapter of the {base.task} network"
        )
    header = read_header(content)
    spec, digest = _spec(header)
    if spec.kind.personal and spec.built_at_generation < oldest_generation:
        raise AdapterStaleError(
            f"adapter {spec.name} was built at generation {spec.built_at_generation}; expected at least "
            f"{oldest_generation}, which this node has suppressed"
        )
    spec.check_fits(base)
    _check_tensors(header, spec, base)
    adapter = _adapter(spec, safetensors.torch.load(content))
    adapter.check_fits(base)
    if adapter.digest.hex() != digest:
        raise AdapterFileError(
            f"adapter {spec.name} is damaged: expected content digest {digest}, got {adapter.digest.hex()}"
        )
    return adapter


def _own(stored: Tensor) -> Tensor:
    # safetensors refuses tensors that share memory, as two layers' factors may.
    return stored.clone(memory_format=torch.contiguous_format)


def _spec(header: SafetensorsHeader) -> tuple[LoraSpec, str]:
    if set(header.metadata) != {_METADATA}:
        raise AdapterFileError(f"expected the metadata {_METADATA!r} alone, got {shown(sorted(header.metadata))}")
    said = strict_json(header.metadata[_METADATA], "the adapter's metadata")
    if not isinstance(said, dict) or set(said) != set(_FIELDS):
        names = set(said) if isinstance(said, dict) else set()
        raise AdapterFileError(
            f"the adapter's metadata lack {sorted(set(_FIELDS) - names)} and have "
            f"{shown(sorted(names - set(_FIELDS)))} too many"
        )
    for name, types in _FIELDS.items():
        if type(said[name]) not in types:
            raise AdapterSpecError(
                f"metadata {name}: expected {' or '.join(kind.__name__ for kind in types)}, got {shown(said[name])}"
            )
    version, digest = said.pop("format_version"), said.pop("content_digest")
    if version != FORMAT_VERSION:
        raise AdapterFileError(f"format version {version}; this software reads {FORMAT_VERSION}")
    return LoraSpec(**{**said, **_converted(said)}), digest


def _converted(said: Mapping[str, Any]) -> dict[str, Any]:
    if not all(isinstance(layer, str) for layer in said["layers"]):
        raise AdapterSpecError(f"metadata layers: expected names, got {shown(said['layers'])}")
    for name, choices in (("kind", LoraKind), ("storage", Precision)):
        if said[name] not in list(choices):
            raise AdapterSpecError(f"metadata {name}: expected one of {', '.join(choices)}, got {shown(said[name])}")
    try:
        alpha = float(said["alpha"])
    except OverflowError:
        raise AdapterSpecError(f"metadata alpha: expected a float64, got {shown(said['alpha'])}") from None
    return {
        "kind": LoraKind(said["kind"]),
        "storage": Precision(said["storage"]),
        "layers": tuple(said["layers"]),
        "alpha": alpha,
    }


def _check_tensors(header: SafetensorsHeader, spec: LoraSpec, base: FrozenBase) -> None:
    expected: dict[str, TensorEntry] = {}
    for layer in spec.layers:
        for factor, shape in spec.factor_shapes(base.layer(layer)).items():
            expected[f"{layer}.{factor}"] = TensorEntry(_DTYPES[spec.storage], shape)
            if spec.storage is Precision.INT8:
                expected[f"{layer}.{factor}{_SCALE}"] = TensorEntry("F32", shape[:1])
    require_tensors(header, expected, f"adapter {spec.name}")


def require_tensors(header: SafetensorsHeader, expected: Mapping[str, TensorEntry], what: str) -> None:
    """Refuse a file whose tensors are not exactly the expected ones.

    Raises
    ------
    AdapterShapeError
        If one is missing, superfluous, or of another shape or format.
    """
    if missing := sorted(set(expected) - set(header.tensors)):
        raise AdapterShapeError(f"{what}: expected {len(expected)} tensors, without {shown(missing)}")
    if extra := sorted(set(header.tensors) - set(expected)):
        raise AdapterShapeError(f"{what}: there are tensors of no layer of it: {shown(extra)}")
    for name, entry in expected.items():
        got = header.tensors[name]
        if got != entry:
            raise AdapterShapeError(
                f"{what}, tensor {name!r}: expected {entry.dtype} {list(entry.shape)}, got {got.dtype} "
                f"{list(got.shape)}"
            )


def _adapter(spec: LoraSpec, tensors: Mapping[str, Tensor]) -> LoraAdapter:
    def matrices(factor: str) -> Mapping[str, StoredMatrix]:
        names = [layer for layer in spec.layers if f"{layer}.{factor}" in tensors]
        return MappingProxyType(
            {
                layer: StoredMatrix(
                    spec.storage, tensors[f"{layer}.{factor}"], tensors.get(f"{layer}.{factor}{_SCALE}")
                )
                for layer in names
            }
        )

    return LoraAdapter(spec, b=matrices("lora_B"), a=matrices("lora_A"))
