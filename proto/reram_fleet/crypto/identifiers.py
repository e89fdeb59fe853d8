"""Identifiers that both sides of the wire know by their form: subject tags and names of nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

#: Name of a node: a DNS label.
NODE_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_TAG = re.compile(r"[0-9a-f]{32}")


def new_tag(draw: Callable[[int], bytes] = os.urandom) -> str:
    """Return a fresh subject tag: 128 random bits, 32 lower-case hexadecimal digits."""
    return draw(16).hex()


def is_subject_tag(text: str) -> bool:
    """Tell whether a text has the form of `new_tag`."""
    return _TAG.fullmatch(text) is not None


def check_node_id(node_id: str) -> str:
    """Return the name of a new node; `ValueError` if it is none."""
    if not NODE_ID.fullmatch(node_id):
        raise ValueError(
            f"{node_id[:80]!r} cannot name a node: use 1 to 63 lower-case letters, digits and inner hyphens"
        )
    return node_id
