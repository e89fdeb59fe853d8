"""Trained transformers on disk: one is trained once per recipe, and read from then on.

The one of task `images` comes with the package, in ``weights/``, so that a fleet of it starts at once: its weights are
impersonal, of public things only. ``make weights`` trains it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import platformdirs
import safetensors.torch
import torch
from reram_fleet.processes.durable import locked, write_atomically
from safetensors import SafetensorError
from torch import Tensor

from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import (
    BackboneRecipe,
    Progress,
    TrainedBackbone,
    backbone_of,
    check_images,
    train_backbone,
)

#: Changes when the same recipe gives another network: a cached one is then not taken for it.
_VERSION = 2
_DIGEST_BYTES = 32
#: Transformers that come with the package.
SHIPPED = Path(__file__).with_name("weights")
#: Largest code of a weight, an int8; each row of a matrix has a scale of its own, and its name this suffix.
_LARGEST_CODE, _SCALE_SUFFIX = 127, ":scale"


def cached_backbone(
    public: LabelledImages,
    seed: int,
    recipe: BackboneRecipe | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainedBackbone:
    """Return `train_backbone` of these arguments, from disk if it has been trained before, with weights of 8 bits.

    Parameters
    ----------
    public, seed, recipe, progress
        As for `train_backbone`. Processes that want the same network at the same time train it once: the others wait.
    folder
        Where trained networks are kept, beside those that are `SHIPPED`; ``backbones`` in the user's cache folder if
        None. They are of public classes, so they are not encrypted. Files in it may be deleted at any time.
    """
    recipe = recipe if recipe is not None else BackboneRecipe()
    folder = folder if folder is not None else platformdirs.user_cache_path("reram-fleet") / "backbones"
    name = f"images-{_recipe_digest(public, seed, recipe)}.safetensors"
    for path in (SHIPPED / name, folder / name):
        if (weights := _read(path)) is not None:
            return backbone_of(weights, public.labels)
    path = folder / name
    with locked(path.with_suffix(".lock"), wait=True):
        if (weights := _read(path)) is None:
            content = _encoded(train_backbone(public, seed, recipe, progress=progress))
            write_atomically(path, hashlib.sha256(content).digest() + content)
            weights = _decoded(content)
    return backbone_of(weights, public.labels)


def _recipe_digest(public: LabelledImages, seed: int, recipe: BackboneRecipe) -> str:
    check_images(public)
    described = {
        "version": _VERSION,
        "seed": seed,
        "recipe": dataclasses.asdict(recipe),
        "images": hashlib.sha256(public.levels.contiguous().numpy().tobytes()).hexdigest(),
        "labels": public.labels.tolist(),
        "styles": public.styles.tolist(),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _encoded(backbone: TrainedBackbone) -> bytes:
    tensors: dict[str, Tensor] = {}
    for name, value in backbone.model.named_parameters():
        if value.ndim < 2:
            tensors[name] = value.detach().contiguous()
            continue
        scale = value.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _LARGEST_CODE
        tensors[name] = torch.round(value.detach() / scale).to(torch.int8)
        tensors[name + _SCALE_SUFFIX] = scale
    return safetensors.torch.save(tensors)


def _decoded(content: bytes) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = safetensors.torch.load(content)
    return {
        name: value * tensors[name + _SCALE_SUFFIX] if value.dtype is torch.int8 else value
        for name, value in tensors.items()
        if not name.endswith(_SCALE_SUFFIX)
    }


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return the weights in a file; None if there is none, or it is damaged: then it is trained anew."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        return _decoded(body)
    except SafetensorError:
        return None
