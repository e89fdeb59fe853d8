"""A campaign on one node: states and the one table of legal transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fleet.domain.transitions import check_step


class ExecutionState(StrEnum):
    """Progress of a node with one forget."""

    #: Committed in the log; the node has not reported this generation.
    PENDING = "pending"
    #: The node has journalled the command and answers for the subject no more.
    SUPPRESSED = "suppressed"
    #: The erase order is out, with a challenge.
    APPLYING = "applying"
    #: A signed receipt has come: a claim.
    APPLIED = "applied"
    #: The receipt says what the coordinator recomputed.
    VERIFIED = "verified"
    #: The same, from a node that held nothing of the subject.
    NOT_AFFECTED = "not_affected"
    #: The receipt contradicts what was expected, or the node does: no lease until an operator decides.
    HELD = "held"
    #: The operator took the node out of the fleet; listed by name in the certificate.
    RETIRED = "retired"
    #: Out of contact for longer than the fleet waits; listed by name in the certificate. It serves nothing
    #: since its lease has ended, and takes the log first when it comes back.
    LOST = "lost"


@dataclass(frozen=True)
class HeldAtCommit:
    """Holdings of a node that were known when a forget was committed: its receipt says no less."""

    #: Adapters in the revision that it ran, or of people whom it had contributed.
    subject_adapters: int
    #: Rows of the shared LoRA in that revision.
    lora_rows: int
    #: Captured samples that it had contributed sums of.
    samples: int
    #: People whom it had contributed: each has a key of its own on the node.
    keys: int


_S = ExecutionState

#: Legal steps. A step back to PENDING is a node that reports an older generation than it once did: it was
#: restored from a backup, and what it erased may be back.
TRANSITIONS: Mapping[ExecutionState, frozenset[ExecutionState]] = {
    _S.PENDING: frozenset({_S.SUPPRESSED, _S.HELD, _S.RETIRED, _S.LOST}),
    # APPLIED at once: the receipt of an order that was withdrawn when its stream broke.
    _S.SUPPRESSED: frozenset({_S.APPLYING, _S.APPLIED, _S.HELD, _S.RETIRED, _S.PENDING, _S.LOST}),
    # SUPPRESSED: the order is withdrawn, the wave goes on without this node.
    _S.APPLYING: frozenset({_S.APPLIED, _S.SUPPRESSED, _S.HELD, _S.RETIRED, _S.PENDING, _S.LOST}),
    _S.APPLIED: frozenset({_S.VERIFIED, _S.NOT_AFFECTED, _S.HELD, _S.RETIRED, _S.PENDING}),
    _S.VERIFIED: frozenset({_S.PENDING, _S.HELD, _S.RETIRED}),
    _S.NOT_AFFECTED: frozenset({_S.PENDING, _S.HELD, _S.RETIRED}),
    # Out of HELD only by an operator: order anew, go through the log again, or give the node up.
    _S.HELD: frozenset({_S.PENDING, _S.SUPPRESSED, _S.APPLYING, _S.RETIRED}),
    # A device that comes back after this is enrolled as a new node.
    _S.RETIRED: frozenset(),
    # It has come back.
    _S.LOST: frozenset({_S.PENDING, _S.SUPPRESSED, _S.HELD, _S.RETIRED}),
}

#: Nothing left to do for these (a restored node re-opens the first two, one that comes back the last).
TERMINAL = frozenset({_S.VERIFIED, _S.NOT_AFFECTED, _S.RETIRED, _S.LOST})

#: Waiting for the node: what is given up when it is lost.
AWAITED = frozenset({_S.PENDING, _S.SUPPRESSED, _S.APPLYING})

#: Without these a forget has converged; each is named in its certificate.
EXCEPTED = frozenset({_S.RETIRED, _S.LOST})

#: Of a node that may not have the command yet.
UNHEARD = frozenset({_S.PENDING, _S.HELD, *EXCEPTED})

#: Forgotten and checked.
SUCCESS = frozenset({_S.VERIFIED, _S.NOT_AFFECTED})

#: States that rest on a receipt of the node.
WITH_RECEIPT = frozenset({_S.APPLIED, _S.VERIFIED, _S.NOT_AFFECTED})


def advance(current: ExecutionState, target: ExecutionState) -> ExecutionState:
    """Return `target` if the step is legal, or none: every message may come again. Else `IllegalTransitionError`."""
    return target if target == current else check_step("an execution", TRANSITIONS, current, target)
