"""Bytes of PEFT folders, sound and otherwise, for the tests of what is refused."""

import json
import tempfile
from pathlib import Path

import safetensors.torch
import torch

from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.exchange.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.exchange.peft_format import CONFIG_FILE, TENSORS_FILE, export_peft
from hwmodel import Precision

NAME = "cohort-0001"
PREFIX = "base_model.model."
DIGEST = "reram_fleet.base_digest"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE = FrozenBase.of("faces", {"fc1": draw(300, 300), "fc2": draw(6, 300)})


def adapter_of(storage=Precision.FP32, rank=4):
    spec = LoraSpec(NAME, LoraKind.COHORT, "faces", BASE.digest, tuple(BASE.layers), rank, 8.0, storage)
    b = {n: 0.1 * draw(s.outputs, rank) for n, s in BASE.layers.items()}
    a = {n: 0.1 * draw(rank, s.inputs, seed=1) for n, s in BASE.layers.items()}
    return LoraAdapter.build(spec, BASE, b=b, a=a)


def exported():
    """Configuration and tensors of the sound adapter, as PEFT would save them."""
    with tempfile.TemporaryDirectory() as folder:
        export_peft(adapter_of(), BASE, Path(folder), personal_in_the_clear=True)
        return (Path(folder) / CONFIG_FILE).read_bytes(), (Path(folder) / TENSORS_FILE).read_bytes()


CONFIG, SOUND = exported()


def key(name):
    """Name of a factor in the file: "fc1.lora_B"."""
    return f"{PREFIX}{name}.weight"


def parts(content):
    """Header and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_entry(name, **changes):
    header, data = parts(SOUND)
    header[key(name)].update(changes)
    return joined(header, data)


def with_tensors(**changes):
    """Replace tensors (None removes one), keeping the metadata."""
    tensors = {**safetensors.torch.load(SOUND), **{key(n.replace("__", ".")): t for n, t in changes.items()}}
    metadata = parts(SOUND)[0]["__metadata__"]
    return safetensors.torch.save({n: t for n, t in tensors.items() if t is not None}, metadata)


def with_header_text(old, new):
    header, data = parts(SOUND)
    text = json.dumps(header)
    assert text.count(old) >= 1
    return joined(text.replace(old, new, 1), data)


def with_config(**changes):
    return json.dumps({**json.loads(CONFIG), **changes}).encode()


DATA_BYTES = len(parts(SOUND)[1])
IN_ORDER = sorted((e["data_offsets"], name) for name, e in parts(SOUND)[0].items() if name != "__metadata__")
FIRST = IN_ORDER[0][1].removeprefix(PREFIX).removesuffix(".weight")
(LAST_BEGINS, _), LAST = IN_ORDER[-1]
LAST = LAST.removeprefix(PREFIX).removesuffix(".weight")
LAST_SHAPE = parts(SOUND)[0][key(LAST)]["shape"]
ENTRY = json.dumps({key(FIRST): parts(SOUND)[0][key(FIRST)]})[1:-1]


def spoilt(value, at=0):
    b = safetensors.torch.load(SOUND)[key("fc1.lora_B")].clone()
    b.view(-1)[at] = value
    return b
