"""LoRA adapters in the format of Hugging Face PEFT, out and in; PEFT itself is not needed.

A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, whose tensors are named
``base_model.model.<layer>.lora_A.weight`` and ``...lora_B.weight``. Of a convolution, A is ``[rank, C, kh, kw]`` and B
``[out, rank, 1, 1]``. PEFT scales by ``lora_alpha / r``, or by ``lora_alpha / sqrt(r)`` with ``use_rslora``.

PEFT files are not encrypted and name no frozen backbone. We add the digest of ours to the metadata, which PEFT ignores;
from files that lack it, only the shapes tell whether the backbone is the right one.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from reram_fleet.processes.durable import write_atomically
from safetensors import SafetensorError
from torch import Tensor

from edge_node.errors import AdapterError, AdapterShapeError
from edge_node.recognition.lora.frozen_base import BaseLayer, FrozenBase
from fleet.lab.errors import AdapterFileError, AdapterUnsupportedError
from fleet.lab.exchange.adapter import MAX_RANK, LoraAdapter, LoraSpec

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_BASE_DIGEST = "reram_fleet.base_digest"
_KEY = re.compile(r"base_model\.model\.(?P<layer>.+)\.(?P<factor>lora_[AB])\.weight")
_FLOATS = ("F32", "F16", "BF16")
_LARGEST_ALPHA = 1e9
#: Longest header of a safetensors file: about 8,000 tensors. The library takes a hundred times as much.
MAX_HEADER_BYTES = 1 << 20
_LENGTH_BYTES = 8

_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 4

#: Initialisations that leave the frozen weights as they were; others (PiSSA, OLoRA, CorDA, LoftQ, ...) move a part of
#: them into the adapter, which is then an adapter of other weights.
_SOUND_INITIALISATIONS = (True, False, None, "gaussian", "orthogonal", "eva")
#: Fields that are read here.
_READ = frozenset({"peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights"})
#: Fields that say where the adapter comes from or how it was trained, not what it computes.
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "target_modules",
        "task_type",
    }
)
#: What any other field holds if it is switched off.
_NOTHING: tuple[Any, ...] = (None, False, 0, "", {}, [])


def export_peft(adapter: LoraAdapter, base: FrozenBase, folder: Path, *, personal_in_the_clear: bool = False) -> None:
    """Write an adapter for PEFT: ``PeftModel.from_pretrained(model, folder)``.

    Numbers are float32: exact for fp16 and fp32 storage, within 2^-24 of it for int8. A frozen A is written out. Name,
    kind, seed and generation have no place in the format and are lost.

    `AdapterError` for an adapter about people without that, one that does not fit the network, or a network that is a
    single layer without a name, which PEFT cannot address.

    The folder is made if it is missing; files in it are replaced. `personal_in_the_clear` must be True for an adapter
    about people: the files are not encrypted, and no forget reaches them.
    """
    spec = adapter.spec
    if spec.kind.personal and not personal_in_the_clear:
        raise AdapterError(
            f"adapter {spec.name} is about people ({spec.kind.value}): PEFT files are not encrypted and no "
            "forget reaches them; pass personal_in_the_clear=True if that is meant"
        )
    adapter.check_fits(base)
    if unreachable := [name for name in spec.layers if not re.fullmatch(r"\w+(\.\w+)*", name)]:
        raise AdapterError(f"PEFT cannot address layers that are no module path: {unreachable}")
    tensors: dict[str, Tensor] = {}
    for name in spec.layers:
        layer = base.layer(name)
        a, b = adapter.factors(name, layer.inputs)
        shapes = _shapes(layer, spec.rank)
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.to(torch.float32).reshape(shapes["lora_A"])
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.to(torch.float32).reshape(shapes["lora_B"])
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": int(spec.alpha) if spec.alpha.is_integer() else spec.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_dora": False,
        "use_rslora": False,
        # A pattern, since PEFT takes a list of names as endings and would find fc1 in blocks.0.fc1 too.
        "target_modules": "|".join(re.escape(name) for name in spec.layers),
    }
    metadata = {_BASE_DIGEST: base.digest}
    write_atomically(folder / TENSORS_FILE, safetensors.torch.save(tensors, metadata))
    write_atomically(folder / CONFIG_FILE, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def import_peft(folder: Path, base: FrozenBase, **fields: Any) -> LoraAdapter:
    """Read a LoRA that PEFT saved.

    `AdapterUnsupportedError` if it is another kind of adapter than LoRA, or has something that is not computed here
    (DoRA, biases, ranks that differ by layer, weights saved beside it, ...), or is pickled. `AdapterFileError` if a
    file is missing, too long, truncated, lying or damaged. `AdapterError` if it does not fit the network, or its
    numbers are not finite or too large.

    That it was trained on this network is the caller's word, unless the file carries our base digest. `fields` are what
    the format does not say, as in `LoraSpec`: name and kind; storage and built_at_generation if they are not the
    defaults.
    """
    config = _read(folder / CONFIG_FILE, MAX_HEADER_BYTES)
    return decode_peft(config, _read(folder / TENSORS_FILE, largest_file_bytes(base)), base, **fields)


def decode_peft(config: bytes, content: bytes, base: FrozenBase, **fields: Any) -> LoraAdapter:
    """Read the two files that PEFT saved, trusting nothing in them; as `import_peft`.

    Refusals go from what needs least to what needs most: configuration, header, the network, shapes; only then are
    tensors made, and their numbers checked.
    """
    rank, alpha = _read_config(config)
    metadata, entries = _read_header(content)
    if (digest := metadata.get(_BASE_DIGEST)) is not None:
        base.check_same(base.task, str(digest)[: len(base.digest)])
    layers = _layers(entries)
    spec = LoraSpec(task=base.task, base_digest=base.digest, layers=layers, rank=rank, alpha=alpha, **fields)
    spec.check_fits(base)
    _check_tensors(entries, spec, base)
    try:
        # Checks what the header says of bytes, before it makes a tensor: gaps, overlaps, what lies beyond the end.
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise AdapterFileError(f"{TENSORS_FILE} is damaged, truncated or lies about its bytes: {error}") from error

    def matrices(factor: str) -> dict[str, Tensor]:
        return {name: tensors[f"{_PREFIX}{name}.{factor}.weight"].flatten(1) for name in layers}

    return LoraAdapter.build(spec, base, a=matrices("lora_A"), b=matrices("lora_B"))


def largest_file_bytes(base: FrozenBase) -> int:
    """Return an upper bound of the files of a network's adapters: every layer, both factors, fp32."""
    numbers = sum(
        min(MAX_RANK, max(layer.inputs, layer.outputs)) * (layer.inputs + layer.outputs)
        for layer in base.layers.values()
    )
    return 4 * numbers + MAX_HEADER_BYTES + _LENGTH_BYTES


def _read_config(content: bytes) -> tuple[int, float]:
    """Return rank and alpha of a configuration that means a plain LoRA."""
    config = _strict_object(content, CONFIG_FILE)
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        raise AdapterUnsupportedError(
            f"{CONFIG_FILE}: expected peft_type LORA with bias none, got "
            f"{_shown(config.get('peft_type'))} with {_shown(config.get('bias'))}"
        )
    initialisation = config.get("init_lora_weights", True)
    if initialisation not in _SOUND_INITIALISATIONS:
        raise AdapterUnsupportedError(
            f"{CONFIG_FILE}: init_lora_weights {_shown(initialisation)} changes the frozen weights; "
            "convert it in PEFT first (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    extra = {n: v for n, v in config.items() if n not in _READ | _WITHOUT_EFFECT and v not in _NOTHING}
    if extra:
        raise AdapterUnsupportedError(
            f"{CONFIG_FILE}: {_shown(extra)} is not computed here; only a plain LoRA of one rank is"
        )
    rank: Any = config.get("r")
    alpha: Any = config.get("lora_alpha")
    root: Any = config.get("use_rslora", False)
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise AdapterShapeError(f"{CONFIG_FILE}: expected r from 1 to {MAX_RANK}, got {_shown(rank)}")
    # bool is an int to isinstance.
    if type(alpha) not in (int, float) or type(root) is not bool or not 0 < alpha < _LARGEST_ALPHA:
        raise AdapterFileError(
            f"{CONFIG_FILE}: expected lora_alpha above 0 and below {_LARGEST_ALPHA:g}, and use_rslora true "
            f"or false; got {_shown(alpha)} and {_shown(root)}"
        )
    return rank, alpha * math.sqrt(rank) if root else float(alpha)


def _read_header(content: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the metadata of a safetensors file, and what it says of each tensor; no more than JSON is checked."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise AdapterFileError(f"the header says {length} bytes; expected at most {MAX_HEADER_BYTES}")
    if len(content) < (end := _LENGTH_BYTES + length):
        raise AdapterFileError(f"the file is truncated: its header ends at byte {end}, the file at {len(content)}")
    header = _strict_object(content[_LENGTH_BYTES:end], "the header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise AdapterFileError("the header's metadata must be texts by name")
    return metadata, header


def _layers(entries: Iterable[str]) -> tuple[str, ...]:
    found: set[str] = set()
    for key in entries:
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterUnsupportedError(
                f"tensor {_shown(key)} is no factor of a LoRA: expected {_PREFIX}<layer>.lora_A.weight or lora_B"
            )
        found.add(match["layer"])
    return tuple(sorted(found))


def _check_tensors(entries: Mapping[str, Any], spec: LoraSpec, base: FrozenBase) -> None:
    """Refuse a header that lacks a factor of a layer, or gives one another shape or no float format."""
    for layer in spec.layers:
        for factor, shape in _shapes(base.layer(layer), spec.rank).items():
            key = f"{_PREFIX}{layer}.{factor}.weight"
            entry = entries.get(key)
            if not isinstance(entry, dict):
                raise AdapterShapeError(f"the PEFT adapter has no tensor {_shown(key)}")
            if entry.keys() != {"dtype", "shape", "data_offsets"}:
                raise AdapterShapeError(f"tensor {_shown(key)} is described by {_shown(sorted(entry))}")
            got = (entry.get("dtype"), entry.get("shape"))
            # Any float will do: the values are stored anew.
            if got[0] not in _FLOATS or got[1] != list(shape):
                raise AdapterShapeError(
                    f"tensor {_shown(key)}: expected {' or '.join(_FLOATS)} {list(shape)}, got {_shown(got[0])} "
                    f"{_shown(got[1])}"
                )


def _shapes(layer: BaseLayer, rank: int) -> Mapping[str, tuple[int, ...]]:
    if layer.kernel:
        return {"lora_A": (rank, *layer.kernel), "lora_B": (layer.outputs, rank, 1, 1)}
    return {"lora_A": (rank, layer.inputs), "lora_B": (layer.outputs, rank)}


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        if path.with_suffix(".bin").exists():
            raise AdapterUnsupportedError(
                f"{path.with_suffix('.bin').name} is a pickle, which can run code when it is read: save it "
                "again with safe_serialization=True"
            ) from None
        raise AdapterFileError(f"there is no {path.name} in {path.parent.name}") from None
    if len(content) > limit:
        raise AdapterFileError(f"{path.name} is larger than {limit} bytes, the most expected")
    return content


def _strict_object(text: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object that names nothing twice, and has neither NaN nor infinity."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AdapterFileError(f"{what} is no sound JSON: {_shown(str(error))}") from error
    if not isinstance(found, dict):
        raise AdapterFileError(f"{what} is a JSON {type(found).__name__}; expected an object")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{_shown(name)} is there twice")
        result[name] = value
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _shown(value: object) -> str:
    """Return what an error says of a value that somebody else chose: at most a few hundred characters."""
    return _SHORT.repr(value)
