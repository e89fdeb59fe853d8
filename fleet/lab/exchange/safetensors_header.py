"""Read the header of a safetensors file without believing any of it.

A file is eight bytes of length (little-endian), a JSON header of that length, and the tensors' bytes. The
`safetensors` library makes the tensors; it accepts a tensor that is named twice and headers of 100 MB, so
what a file may say is checked here, before any tensor exists.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_node.errors import AdapterShapeError
from fleet.lab.errors import AdapterFileError

#: Longest header: about 8,000 tensors.
MAX_HEADER_BYTES = 1 << 20

_LENGTH_BYTES = 8
_MAX_AXES = 4
#: No axis or offset reaches this, so that products of them stay numbers that can be printed.
_TOO_LARGE = 1 << 48
_METADATA = "__metadata__"
#: Bytes of a number, by the format's name.
_ITEM_BYTES = {"I8": 1, "F16": 2, "BF16": 2, "F32": 4}

_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 4


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """What a header says about one tensor.

    Attributes
    ----------
    dtype
        ``"I8"``, ``"F16"``, ``"BF16"`` or ``"F32"``.
    shape
        Its axes.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """A header that is consistent with itself and with the length of its file.

    Attributes
    ----------
    metadata
        Texts by name.
    tensors
        By name.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]


def shown(value: object) -> str:
    """Return what an error says of a value that somebody else chose: at most a few hundred characters."""
    return _SHORT.repr(value)


def read_header(content: bytes) -> SafetensorsHeader:
    """Return the header of a safetensors file, after checking all that can be without making a tensor.

    Raises
    ------
    AdapterFileError
        If the file is truncated or too long, or the header is oversized, no JSON object, names something
        twice, or gives a tensor other bytes than its shape takes: overlapping, beyond the end, with gaps.
    AdapterShapeError
        If a tensor has a number format that no adapter has, or too many axes.
    """
    if len(content) < _LENGTH_BYTES:
        raise AdapterFileError(f"the file is truncated: expected 8 bytes of header length, got {len(content)}")
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise AdapterFileError(f"the header says {length} bytes; expected at most {MAX_HEADER_BYTES}")
    start = _LENGTH_BYTES + length
    if start > len(content):
        raise AdapterFileError(f"the file is truncated: its header ends at byte {start}, the file at {len(content)}")
    header = _object(content[_LENGTH_BYTES:start])
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise AdapterFileError("the header's metadata must be texts by name")
    spans = {name: _span(name, entry) for name, entry in header.items()}
    end = 0
    for name, (first, last, _) in sorted(spans.items(), key=lambda item: item[1][:2]):
        if first != end:
            raise AdapterFileError(
                f"tensor {shown(name)} begins at byte {first} of the data; expected {end}, without gap or overlap"
            )
        end = last
    if end != len(content) - start:
        fault = "is truncated" if end > len(content) - start else "has trailing bytes"
        raise AdapterFileError(
            f"the file {fault}: its tensors take {end} bytes, and {len(content) - start} follow the header"
        )
    return SafetensorsHeader(metadata, {name: entry for name, (_, _, entry) in spans.items()})


def strict_json(text: bytes | str, what: str) -> Any:
    """Parse JSON that names nothing twice and has no NaN or infinity.

    Raises
    ------
    AdapterFileError
        Otherwise, or if it is no JSON, or nested too deeply.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AdapterFileError(f"{what} is no sound JSON: {shown(str(error))}") from error


def _object(text: bytes) -> dict[str, Any]:
    header = strict_json(text, "the header")
    if not isinstance(header, dict):
        raise AdapterFileError(f"the header is a JSON {type(header).__name__}; expected an object")
    return header


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"{shown(name)} is there twice")
        result[name] = value
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _span(name: str, entry: object) -> tuple[int, int, TensorEntry]:
    named = f"tensor {shown(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise AdapterFileError(f"{named}: expected dtype, shape and data_offsets, got {shown(entry)}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise AdapterShapeError(f"{named}: expected numbers as {', '.join(_ITEM_BYTES)}, got {shown(dtype)}")
    if not _whole_numbers(shape) or len(shape) > _MAX_AXES:
        raise AdapterShapeError(f"{named}: expected a shape of at most {_MAX_AXES} axes, got {shown(shape)}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise AdapterFileError(f"{named}: expected two data_offsets, got {shown(offsets)}")
    first, last = offsets
    size = math.prod(shape) * _ITEM_BYTES[dtype]
    if last - first != size:
        raise AdapterFileError(
            f"{named}: its shape {shown(shape)} takes {size} bytes as {dtype}, and its data_offsets span {last - first}"
        )
    return first, last, TensorEntry(dtype, tuple(shape))


def _whole_numbers(values: object) -> bool:
    # bool is an int to isinstance.
    return isinstance(values, list) and all(type(v) is int and 0 <= v < _TOO_LARGE for v in values)
