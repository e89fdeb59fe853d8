"""Random streams derived from keys, never from a sequence.

A draw depends only on what it is for (fleet seed, purpose, node, layer, epoch ...), so nodes may be processed in any
order, on any machine, alone or in batches, and removing one never shifts another's.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from hwmodel.errors import StreamKeyError

_DOMAIN = b"hwmodel/stream/v1\0"


def keyed_seed(fleet_seed: int, purpose: str, *keys: int | str) -> int:
    """Return the 64-bit seed of a stream: the head of SHA-256 over the typed, length-prefixed key.

    Raises `StreamKeyError` if the purpose is empty or a key is neither an integer nor a string.

    Parameters
    ----------
    fleet_seed
        Seed of the whole fleet; any integer.
    purpose
        What the stream is for, e.g. ``"reservoir.weights"``; not empty.
    *keys
        Node id, layer, epoch, round ...; ``1`` and ``"1"`` are different keys.
    """
    return int.from_bytes(hashlib.sha256(_encode(fleet_seed, purpose, keys)).digest()[:8], "little")


def keyed_generator(fleet_seed: int, purpose: str, *keys: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `keyed_seed`.

    Torch seeds its Mersenne Twister with the low 32 bits only, so among a million streams about a hundred pairs
    coincide, and its numbers differ between releases and, for normal draws, between CPU types. That is good enough for
    mini-batches; what is regenerated instead of stored (chips, random backbones) draws from `keyed_uint16` and
    `keyed_normal`.
    """
    return torch.Generator(device="cpu").manual_seed(keyed_seed(fleet_seed, purpose, *keys))


def keyed_uint16(fleet_seed: int, purpose: str, *keys: int | str, count: int) -> Tensor:
    """Return `count` uniform draws from 0 ... 65535: the SHAKE-256 stream of the key.

    Bitwise the same on every platform and library version. Returns int32 ``[count]``. Raises `StreamKeyError` as for
    `keyed_seed`, or if `count` is negative.
    """
    if count < 0:
        raise StreamKeyError(f"cannot draw {count} numbers: count must not be negative")
    stream = hashlib.shake_256(_encode(fleet_seed, purpose, keys)).digest(2 * count)
    return torch.from_numpy(np.frombuffer(stream, dtype="<u2").astype(np.int32))


def keyed_uint16_rows(fleet_seed: int, purpose: str, *keys: int | str, rows: Iterable[int], count: int) -> Tensor:
    """Return `keyed_uint16` once for each of `rows`, which is the last key: for many short streams.

    Returns int32 ``[rows, count]``. Raises `StreamKeyError` as for `keyed_uint16`.
    """
    if count < 0:
        raise StreamKeyError(f"cannot draw {count} numbers: count must not be negative")
    shared, digests = hashlib.shake_256(_encode(fleet_seed, purpose, keys)), []
    for row in rows:
        stream = shared.copy()
        stream.update(_encode_key(row))
        digests.append(stream.digest(2 * count))
    drawn = np.frombuffer(b"".join(digests), dtype="<u2").astype(np.int32)
    return torch.from_numpy(drawn).view(len(digests), count)


def keyed_normal(fleet_seed: int, purpose: str, *keys: int | str, count: int) -> Tensor:
    """Return `count` standard normal draws: `normal_quantiles` of `keyed_uint16`.

    Returns float64 ``[count]``. Raises `StreamKeyError` as for `keyed_uint16`.
    """
    return normal_quantiles(keyed_uint16(fleet_seed, purpose, *keys, count=count))


def normal_quantiles(draws: Tensor) -> Tensor:
    """Turn uniform draws from 0 ... 65535 into standard normal ones, float64, within +-4.32.

    Through the exact inverse distribution, since a library's own sampler gives other numbers on other CPUs.
    """
    # Selecting rows is several times faster than indexing by a tensor of 32-bit numbers.
    return _quantile_table().index_select(0, draws.reshape(-1)).view(draws.shape)


@lru_cache(maxsize=1)
def _quantile_table() -> Tensor:
    normal = NormalDist()
    return torch.tensor([normal.inv_cdf((u + 0.5) / 65536) for u in range(65536)], dtype=torch.float64)


def _encode(fleet_seed: int, purpose: str, keys: tuple[int | str, ...]) -> bytes:
    if not purpose:
        raise StreamKeyError("a keyed stream needs a purpose; got an empty string")
    return _DOMAIN + b"".join(_encode_key(key) for key in (fleet_seed, purpose, *keys))


def _encode_key(key: int | str) -> bytes:
    # bool is an int to isinstance, and True would silently share the stream of 1.
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise StreamKeyError(f"stream keys are int or str; got {key!r} ({type(key).__name__})")
    kind, text = (b"i", str(key).encode()) if isinstance(key, int) else (b"s", key.encode())
    return kind + struct.pack("<Q", len(text)) + text
