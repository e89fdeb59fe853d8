"""Coroutines of the coordinator without an event loop: over a `Database` of the calling thread they never wait."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def done_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine comes to; `RuntimeError` if it waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine} waits for something")
