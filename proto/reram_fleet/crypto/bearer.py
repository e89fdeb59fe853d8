"""Bearer tokens that open services."""

from __future__ import annotations

import hmac
import re
import secrets

#: Shorter ones can be guessed; `new_token` makes 43 characters.
LEAST_CHARACTERS = 32

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class TokenError(Exception):
    """A file does not hold a token that may open anything."""


def new_token() -> str:
    """Return a fresh token: 256 random bits."""
    return secrets.token_urlsafe(32)


def check_token(content: bytes) -> str:
    """Return the token that a file holds; `TokenError`, which does not repeat it, if it is too short or no token."""
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < LEAST_CHARACTERS or not _TOKEN.fullmatch(token):
        raise TokenError(
            f"it holds {len(content)} bytes, expected a token of at least {LEAST_CHARACTERS} characters of "
            "A-Z, a-z, 0-9, '_', '-'"
        )
    return token


def allows(expected: str, authorization: object) -> bool:
    """Return whether the value of an `authorization` header carries the token; an empty one never does."""
    if not expected:
        return False
    given = authorization if isinstance(authorization, bytes) else str(authorization).encode()
    return hmac.compare_digest(given, f"Bearer {expected}".encode())
