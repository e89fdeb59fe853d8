"""Errors of the package, as one tree; those of key files are the contract's (`reram_fleet.errors`).

::

    EdgeNodeError
    ├── EngineError              the engine refused; nothing was changed
    │   ├── TaskError            an unknown task or damaged task data
    │   ├── SampleError          a sample of the wrong shape, type or length, or with values that are not finite
    │   ├── AdapterError         an adapter that does not fit this engine (features, count, rank, tag)
    │   │   ├── AdapterSpecError         what an adapter says about itself is impossible
    │   │   ├── AdapterShapeError        its layers, rank, shapes or number formats do not fit the network
    │   │   ├── AdapterValueError        its numbers are not finite, or larger than any training makes
    │   │   └── AdapterBaseError         it was made for another task or another frozen backbone
    │   └── RoundError           a learning round that cannot be run as asked
    └── NodeError                everything of the daemon around the engine
        ├── StateFolderError     the state folder lacks something, or is damaged or in use
        ├── JournalError         the journal cannot be read or written
        ├── ProtocolError        what came does not verify as the coordinator's
        │   └── LogRejectedError a range of the forget log: forged, foreign, with a gap, or off the chain
        └── RefusedError         a valid request that this node must not carry out now
            ├── TombstonedTagError    the tag was forgotten
            ├── RevisionRefusedError  from before a forget, or not what its manifest says
            ├── EraseRefusedError     an erase order that cannot be carried out truthfully
            ├── TicketRefusedError    a job ticket that is expired, foreign, or of another generation
            └── NotAllowedError       an enrolment without the caller's ticket for this person and node
"""

from __future__ import annotations

from reram_fleet.errors import FleetError


class EdgeNodeError(FleetError):
    """Base of every error that `edge_node` raises on purpose."""


class EngineError(EdgeNodeError):
    """The engine refused its input; its state is as before the call."""


class TaskError(EngineError):
    """The task is unknown, or its data are damaged."""


class SampleError(EngineError):
    """A sample does not have the shape, type or length that the task needs."""


class AdapterError(EngineError):
    """A subject adapter or LoRA does not fit this engine."""


class AdapterSpecError(AdapterError):
    """An adapter says something impossible about itself: its name, kind, scale, seed or generation."""


class AdapterShapeError(AdapterError):
    """An adapter's layers, rank, shapes or number formats do not fit the network."""


class AdapterValueError(AdapterError):
    """An adapter's numbers are not finite, or larger than any training makes them."""


class AdapterBaseError(AdapterError):
    """An adapter was made for another task or another frozen backbone."""


class RoundError(EngineError):
    """A learning round cannot be run with these tags, this state or these samples."""


class NodeError(EdgeNodeError):
    """Base of the errors of the daemon around the engine."""


class StateFolderError(NodeError):
    """The state folder lacks something, is damaged, or is in use by another process."""


class JournalError(NodeError):
    """The journal cannot be read or written."""


class ProtocolError(NodeError):
    """A message does not verify as the coordinator's; the node has withdrawn its own lease."""


class LogRejectedError(ProtocolError):
    """A range of the forget log is forged, foreign, has a gap, or leaves the hash chain."""


class RefusedError(NodeError):
    """A valid request that this node must not carry out now; nothing was changed."""


class TombstonedTagError(RefusedError):
    """The subject tag was forgotten: a new consent needs a new tag."""


class RevisionRefusedError(RefusedError):
    """A revision was built before a forget, or is not what its manifest says."""


class EraseRefusedError(RefusedError):
    """An erase order cannot be carried out truthfully."""


class TicketRefusedError(RefusedError):
    """A job ticket is expired, meant for another node, or of another generation."""


class NotAllowedError(RefusedError):
    """The caller's registry has not allowed this node to enrol this person now."""
