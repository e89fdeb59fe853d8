"""Errors of the laboratory: what no device runs, but subclasses of what its engine raises.

::

    edge_node.errors.EngineError
    ├── AdapterError
    │   ├── AdapterStaleError        it was built before a generation that the node has suppressed
    │   ├── AdapterFileError         a file that is truncated, too long, lying about itself or damaged
    │   ├── AdapterSealError         a file that does not open: wrong key, wrong name, or changed bytes
    │   └── AdapterUnsupportedError  a sound PEFT adapter of a kind that is not computed here
    └── VerificationError    evidence that cannot be judged, or a report that contradicts it
"""

from __future__ import annotations

from edge_node.errors import AdapterError, EngineError


class AdapterStaleError(AdapterError):
    """An adapter was built before a generation that this node has suppressed."""


class AdapterFileError(AdapterError):
    """An adapter file is truncated, too long, lies about itself, or is damaged."""


class AdapterSealError(AdapterError):
    """A sealed adapter file does not open: wrong key, wrong name, or changed bytes."""


class AdapterUnsupportedError(AdapterError):
    """A sound PEFT adapter has something that is not computed here."""


class VerificationError(EngineError):
    """Evidence that cannot be judged, or a report whose verdicts do not follow from it."""
