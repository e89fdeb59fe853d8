"""Identifiers: subject tags (random, the caller's) and sortable ids (ours)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from reram_fleet.crypto.identifiers import is_subject_tag
from reram_fleet.wire.concepts import check_concept

from fleet.errors import InvalidInputError

_SORTABLE_ID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
#: Of nodes that are enrolled already.
_NODE_ID = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
# Crockford's base 32, lower case: no i, l, o, u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(now_ms: int, draw: Callable[[int], bytes] = os.urandom) -> str:
    """Return a fresh id for a campaign or a learning job: 26 characters that sort by time.

    Layout of a ULID (github ulid/spec): 48 bits of Unix time in ms, 80 random bits, of `draw`.
    """
    if not 0 <= now_ms < 2**48:
        raise InvalidInputError(f"a time of {now_ms} ms does not fit into an id (48 bits)")
    number = now_ms << 80 | int.from_bytes(draw(10), "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def validate_tag(tag: str) -> str:
    """Return the tag.

    Raises `InvalidInputError` if it is not 32 lower-case hexadecimal digits. What was given is not repeated in the
    error: people type names where a tag belongs, and errors end up in logs.
    """
    if not is_subject_tag(tag):
        raise InvalidInputError(
            f"a subject tag is 32 lower-case hexadecimal digits; got {len(tag)} characters of something else",
            hint="tags come from the caller's registry: pass the tag, never a name",
        )
    return tag


def validate_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags, sorted, without repeats; `InvalidInputError` if one is malformed or there is none."""
    checked = tuple(sorted({validate_tag(tag) for tag in tags}))
    if not checked:
        raise InvalidInputError("no subject tag given", hint="name at least one enrolment")
    return checked


def validate_concept(name: str) -> str:
    """Return the name of a concept; `InvalidInputError` if it has not the form of one."""
    try:
        return check_concept(name)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error


def validate_id(identifier: str) -> str:
    """Return the campaign or job id; `InvalidInputError` if it is not one that `new_id` could have made."""
    if not _SORTABLE_ID.fullmatch(identifier):
        raise InvalidInputError(f"{identifier[:40]!r} is not an id: 26 of 0-9 and a-z without i, l, o, u")
    return identifier


def validate_node_id(node_id: str) -> str:
    """Return the id of a node that may be enrolled already; `InvalidInputError` unless it can be one.

    Wider than the rule for new nodes (`reram_fleet.crypto.identifiers`): coordinators have taken such names before.
    """
    if not _NODE_ID.fullmatch(node_id):
        raise InvalidInputError(
            f"{node_id[:80]!r} is not a node id: 1 to 64 characters of a-z, 0-9, '.', '_', '-', "
            "beginning and ending with a letter or digit"
        )
    return node_id
