"""What a person looks like in bytes, and where such bytes lie in a folder of files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from reram_fleet.v1 import types_pb2 as types

#: Bytes of one needle. Databases cut long values at pages of 4 kB: a short piece lies within one page.
PIECE_BYTES = 32
#: Pieces of one array: if a page border cuts one of them, it leaves the others whole.
PIECES = 8
#: By which needles are looked for: at every byte of every file, all at once.
WORD_BYTES = 8
_HASH_BITS = 22


def pieces(name: str, content: bytes) -> dict[bytes, str]:
    """Return some pieces of an array's bytes, to what they are; those that say nothing are left out."""
    last = max(0, len(content) - PIECE_BYTES)
    found = {}
    for at in sorted({last * step // (PIECES - 1) for step in range(PIECES)}):
        piece = content[at : at + PIECE_BYTES]
        # Runs of equal values occur anywhere.
        if len(piece) == PIECE_BYTES and len(set(piece)) >= PIECE_BYTES // 4:
            found[piece] = name
    return found


def integer_pieces(name: str, values: Sequence[int]) -> dict[bytes, str]:
    """Return pieces of integers as anybody may have stored them: int32, int64 (little-endian), protobuf."""
    count = len(values)
    adapter = types.SubjectAdapter(code_sum=values)
    return {
        **pieces(f"{name} as int32", struct.pack(f"<{count}i", *values)),
        **pieces(f"{name} as int64", struct.pack(f"<{count}q", *values)),
        # From the middle: the first bytes say which field it is.
        **pieces(f"{name} as protobuf", adapter.SerializeToString()[8:]),
    }


def row_pieces(name: str, row: np.ndarray) -> dict[bytes, str]:
    """Return pieces of a row of codes, int16."""
    return pieces(f"{name} as int16", row.astype("<i2").tobytes())


def lora_row(state: types.LoraState, tag: str) -> np.ndarray:
    """Return a person's row of codes in a LoRA state, int16 [rank]."""
    rows = np.frombuffer(state.rows, "<i2").reshape(len(state.subject_tags), state.neurons + state.rank)
    return rows[list(state.subject_tags).index(tag)]


def files_with(folder: Path, needles: Iterable[bytes]) -> Iterator[tuple[Path, bytes]]:
    """Yield each file of a folder with a needle that occurs in it; all have `WORD_BYTES` at least."""
    wanted: dict[bytes, list[bytes]] = {}
    for needle in needles:
        wanted.setdefault(needle[:WORD_BYTES], []).append(needle)
    starts = np.unique(np.frombuffer(b"".join(wanted), "<u8"))
    known = np.zeros(1 << _HASH_BITS, bool)
    known[_hashes(starts)] = True
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found = set()
        for shift in range(WORD_BYTES):
            words = np.frombuffer(content[shift : len(content) - (len(content) - shift) % WORD_BYTES], "<u8")
            places = np.flatnonzero(known[_hashes(words)])
            places = places[np.isin(words[places], starts)]
            for at in places.tolist():
                place = shift + WORD_BYTES * at
                beginning = content[place : place + WORD_BYTES]
                found |= {needle for needle in wanted[beginning] if content.startswith(needle, place)}
        yield from ((path.relative_to(folder), needle) for needle in sorted(found))


def _hashes(words: np.ndarray) -> np.ndarray:
    return (words * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _HASH_BITS)
