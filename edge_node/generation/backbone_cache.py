"""Trained transformers on disk: one is trained once per recipe, and read from then on."""

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

from edge_node.generation.training import (
    BackboneRecipe,
    Progress,
    TrainedBackbone,
    backbone_of,
    check_images,
    train_backbone,
)

#: Changes when the same recipe gives another network: a cached one is then not taken for it.
_VERSION = 1
_DIGEST_BYTES = 32


def cached_backbone(
    levels: Tensor,
    labels: Tensor,
    seed: int,
    recipe: BackboneRecipe | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainedBackbone:
    """Return `train_backbone` of these arguments, from disk if it has been trained here before.

    Parameters
    ----------
    levels, labels, seed, recipe, progress
        As for `train_backbone`. Processes that want the same network at the same time train it once: the others wait.
    folder
        Where trained networks are kept; ``backbones`` in the user's cache folder if None. They are of public
        classes, so they are not encrypted. Files in it may be deleted at any time.
    """
    recipe = recipe if recipe is not None else BackboneRecipe()
    folder = folder if folder is not None else platformdirs.user_cache_path("reram-fleet") / "backbones"
    path = folder / f"images-{_recipe_digest(levels, labels, seed, recipe)}.safetensors"
    if (weights := _read(path)) is not None:
        return backbone_of(weights, labels)
    with locked(path.with_suffix(".lock"), wait=True):
        if (weights := _read(path)) is not None:
            return backbone_of(weights, labels)
        backbone = train_backbone(levels, labels, seed, recipe, progress=progress)
        content = safetensors.torch.save(
            {name: value.detach().contiguous() for name, value in backbone.model.named_parameters()}
        )
        write_atomically(path, hashlib.sha256(content).digest() + content)
    return backbone


def _recipe_digest(levels: Tensor, labels: Tensor, seed: int, recipe: BackboneRecipe) -> str:
    check_images(levels, labels)
    described = {
        "version": _VERSION,
        "seed": seed,
        "recipe": dataclasses.asdict(recipe),
        "images": hashlib.sha256(levels.contiguous().numpy().tobytes()).hexdigest(),
        "labels": labels.tolist(),
        # Another build rounds otherwise.
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


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
        weights: dict[str, Tensor] = safetensors.torch.load(body)
    except SafetensorError:
        return None
    return weights
