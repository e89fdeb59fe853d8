"""Errors of the laboratory: refusals of adapters that no device reads."""

from __future__ import annotations

from edge_node.errors import AdapterError


class AdapterFileError(AdapterError):
    """An adapter file is truncated, too long, lies about itself, or is damaged."""


class AdapterUnsupportedError(AdapterError):
    """A sound PEFT adapter has something that is not computed here."""
