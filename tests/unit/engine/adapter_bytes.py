"""Bytes of adapter files, sound and otherwise, for the tests of what is refused."""

import json

import safetensors.torch
import torch

from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange.file_format import encode_adapter
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec
from hwmodel import Precision

NAME = "cohort-0001"
METADATA = "reram_fleet.adapter"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = FrozenBase.of("faces", {"fc1": draw(300, 300), "fc2": draw(6, 300)})


def adapter_of(storage=Precision.FP32, rank=4):
    spec = LoraSpec(NAME, LoraKind.COHORT, "faces", BASE.digest, tuple(BASE.layers), rank, 8.0, storage)
    b = {n: 0.1 * draw(s.outputs, rank) for n, s in BASE.layers.items()}
    a = {n: 0.1 * draw(rank, s.inputs, seed=1) for n, s in BASE.layers.items()}
    return LoraAdapter.build(spec, BASE, b=b, a=a)


def parts(content):
    """Header and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_metadata(content, **changes):
    header, data = parts(content)
    said = json.loads(header["__metadata__"][METADATA])
    header["__metadata__"][METADATA] = json.dumps({**said, **changes})
    return joined(header, data)


def with_entry(content, tensor, **changes):
    header, data = parts(content)
    header[tensor].update(changes)
    return joined(header, data)


def with_tensors(content, **changes):
    """Replace tensors (None removes one), keeping the metadata: what only the content digest could tell."""
    tensors = {**safetensors.torch.load(content), **{n.replace("__", "."): t for n, t in changes.items()}}
    metadata = parts(content)[0]["__metadata__"]
    return safetensors.torch.save({n: t for n, t in tensors.items() if t is not None}, metadata)


def with_header_text(content, old, new):
    header, data = parts(content)
    text = json.dumps(header)
    assert text.count(old) >= 1
    return joined(text.replace(old, new, 1), data)


SOUND = encode_adapter(adapter_of())
SOUND_INT8 = encode_adapter(adapter_of(Precision.INT8))
DATA_BYTES = len(parts(SOUND)[1])
IN_ORDER = sorted((e["data_offsets"], name) for name, e in parts(SOUND)[0].items() if name != "__metadata__")
FIRST = IN_ORDER[0][1]
(LAST_BEGINS, _), LAST = IN_ORDER[-1]
ENTRY = json.dumps({FIRST: parts(SOUND)[0][FIRST]})[1:-1]


def spoilt(value, at=0):
    b = safetensors.torch.load(SOUND)["fc1.lora_B"].clone()
    b.view(-1)[at] = value
    return b


def spoilt_int8(name, value):
    tensor = safetensors.torch.load(SOUND_INT8)[name].clone()
    tensor.view(-1)[0] = value
    return tensor
