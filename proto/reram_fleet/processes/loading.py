"""Imports of a process that goes on for long, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading_for_good() -> Iterator[None]:
    """Let the garbage collector leave alone what is imported within a `with` statement.

    It would walk through hundreds of thousands of objects again and again, none of which ever goes: a tenth of the time
    that a node or a coordinator takes to start, and of each full collection later.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
