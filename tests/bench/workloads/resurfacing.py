"""Resurfacing of forgotten people, when training goes on or when somebody brings their adapters back.

Samples of forgotten people that nobody was trained on are shown to what is active now. They may not be named as theirs,
and be accepted no more often than by a fleet that never enrolled them: some strangers always are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, JobTicket, RevisionManifest
from torch import Tensor

from edge_node.agent.revisions import Standpoint, check_manifest
from edge_node.agent.rounds import check_ticket
from edge_node.errors import RevisionRefusedError, TicketRefusedError
from fleet.errors import SubjectForgottenError
from fleet.store import Store


@dataclass(frozen=True)
class Resurfacing:
    """One kind of adapter, at the end: shares of held-out samples of the forgotten people, over all nodes."""

    kind: str
    #: Accepted and named as theirs: the resurfacing rate of Lethe (arXiv 2601.22601).
    named: float
    #: Accepted as anybody; the same by a fleet that never enrolled them and lived through the same.
    accepted: float
    never_enrolled: float
    #: Samples of never-enrolled people that are accepted.
    strangers: float
    #: Whether the integers are those of that fleet, also if nodes had the people's codes again.
    as_if_never_enrolled: bool
    #: `named`, had the people's old adapter been let back in: what tombstones are there to refuse.
    named_if_let_back: float


@dataclass(frozen=True)
class Seen:
    """Shares of samples: accepted and named as their own person's; accepted as anybody's."""

    named: float
    accepted: float

    @classmethod
    def of(cls, best_tag: Sequence[Sequence[str]], accepted: Tensor, truth: Sequence[str]) -> Seen:
        """Count answers of N nodes to B samples: best match [N][B], bool [N, B], whose they are [B]."""
        right = torch.from_numpy(np.array(best_tag) == np.array(truth))
        return cls(float((right & accepted).double().mean()), float(accepted.double().mean()))


def refused_returns(people: int) -> float:
    """Return the share of ways back that are refused to forgotten tags, by the code that fleets run.

    For each tag: its codes contributed to the coordinator again, a learning job that trains on it, and a revision that
    names it, both offered to a node at generation 1 that has the tombstone.
    """
    tags, refused = [new_tag() for _ in range(people)], []

    @contextmanager
    def counted(error: type[Exception]) -> Iterator[None]:
        try:
            yield
        except error:
            refused.append(error)

    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/fleet.db") as store:
        with store.transaction() as tx:
            tx.subjects.forget(tags, generation=1)
        for tag in tags:
            ticket = JobTicket(
                fleet_id="fleet",
                node_id="n0",
                job_id="job",
                kind=LEARNING_KIND_TRAIN_LORA,
                generation=1,
                expires_at_unix_ms=2,
                subject_tags=[tag],
            )
            manifest = RevisionManifest(revision=2, built_at_generation=1, subject_tags=[tag])
            with counted(SubjectForgottenError), store.transaction() as tx:
                tx.subjects.contribute(tag, "n0", 1, 5, b"sealed")
            with counted(TicketRefusedError):
                check_ticket(ticket, fleet_id="fleet", node_id="n0", generation=1, tombstones=tags, unix_ms=1)
            with counted(RevisionRefusedError):
                check_manifest(manifest, Standpoint("fleet", "n0", 1, tags, active_revision=1))
    return len(refused) / (3 * people)
