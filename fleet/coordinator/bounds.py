"""Bounds of whatever a node says: numbers that can be stored, text that can be shown."""

from __future__ import annotations

import math

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fleet.coordinator.effects import QuarantineError

#: Largest integer of a database column; the wire's unsigned numbers go further.
MAX_INTEGER = 2**63 - 1
#: A hello's nonce, a digest, a key: nothing of this kind is longer.
MAX_NONCE_BYTES = 64
MAX_TEXT = 2000

_INTEGERS = (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64)
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def check_bounds(message: Message) -> None:
    """Refuse a message with a number that cannot be stored or a text that nobody would read.

    Raises
    ------
    QuarantineError
        With the field and what is in it.
    """
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
            continue
        values = value if field.is_repeated else (value,)
        for one in values:
            _check(field, one)


def _check(field: FieldDescriptor, value: object) -> None:
    name = f"{field.containing_type.name}.{field.name}"
    if isinstance(value, Message):
        check_bounds(value)
    elif field.type in _INTEGERS and isinstance(value, int) and value > MAX_INTEGER:
        raise QuarantineError(f"{name} is {value}: no number that can be counted to")
    elif field.type in _FLOATS and isinstance(value, float) and not math.isfinite(value):
        raise QuarantineError(f"{name} is {value}")
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise QuarantineError(f"{name} has {len(value)} characters, at most {MAX_TEXT} are taken")


def check_nonce(name: str, nonce: bytes) -> None:
    """Refuse a nonce of a size that none has; it is signed and sent back."""
    if len(nonce) > MAX_NONCE_BYTES:
        raise QuarantineError(f"{name} has {len(nonce)} bytes, at most {MAX_NONCE_BYTES} are taken")
