"""Logs of coordinator and nodes in a simulation: thousands of them speak in one process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_SPEAKERS = ("fleet", "edge_node")


@contextmanager
def told_to(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear what coordinator and nodes warn of, beside whoever does; it is closed afterwards."""
    loggers = [logging.getLogger(name) for name in _SPEAKERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def silent() -> Iterator[None]:
    """Keep what they warn of from the terminal: it happens on purpose."""
    before = {logger: logger.propagate for logger in map(logging.getLogger, _SPEAKERS)}
    for logger in before:
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in before.items():
            logger.propagate = propagate
