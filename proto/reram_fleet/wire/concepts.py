"""Names of concepts: things and styles that the backbone of nodes that generate knows, and may be told not to show.

A concept is forgotten under a tag that is made of its name, so that log, tombstones and receipts know it as they know a
person's. The name itself is no secret.
"""

from __future__ import annotations

import hashlib
import re

#: Halves of a prompt that a concept can be a value of.
STYLE, THING = "style", "thing"

#: Scale of an eraser's codes: B is stored as integers at 2^-scale_bits, as that of a class.
ERASER_SCALE_BITS = 12

_NAME = re.compile(rf"(?:{STYLE}|{THING}):[a-z0-9][a-z0-9-]{{0,62}}")


def concept_name(kind: str, value: str) -> str:
    """Return the name of a concept, for instance ``"style:night"``."""
    return f"{kind}:{value}"


def check_concept(name: str) -> str:
    """Return the name of a concept; `ValueError` if it is none."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} names no concept: expected {STYLE}:NAME or {THING}:NAME, as {STYLE}:night")
    return name


def concept_tag(name: str) -> str:
    """Return the tag under which a concept is forgotten: it has the form of a subject's."""
    return hashlib.sha256(f"reram-fleet/concept/v1\0{name}".encode()).hexdigest()[:32]
