"""Pages that are asked for over HTTP, without a proxy and not for long."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from fleet.errors import NotFoundError

_TIMEOUT_S = 5.0
_MOST_BYTES = 8 << 20


class PageError(NotFoundError):
    """A page does not answer, or says that something is wrong."""


def page(url: str, ca_file: Path | None = None) -> bytes:
    """Return what a page answers; `PageError` if it does not, or not with 200.

    `ca_file` vouches for it if it speaks HTTPS; without, the system's authorities do.
    """
    # A proxy of the environment is for the web.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT_S) as response:
            content: bytes = response.read(_MOST_BYTES)
            return content
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace").strip().partition("\n")[0]
        raise PageError(f"{url} answers {error.code}: {said}") from error
    except urllib.error.URLError as error:
        raise PageError(f"{url} does not answer: {error.reason}") from error
    except (OSError, ValueError) as error:
        raise PageError(f"{url} does not answer: {error}") from error


def answer(url: str, ca_file: Path | None = None) -> Any:
    """Return a page's JSON; raises `PageError`."""
    try:
        return json.loads(page(url, ca_file))
    except ValueError as error:
        raise PageError(f"{url} answers no JSON") from error
