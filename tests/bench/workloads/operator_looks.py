"""Answers to operators of a large fleet: how long each takes, and how large it is.

In one process, over SQLite in memory: what is measured is the work, and not the wire. The fleet is a simulated one,
which stands still while somebody looks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from reram_fleet.v1 import operator_pb2 as wire

from fleet.coordinator.unit import UnitOfWork
from fleet.domain.campaign import CampaignState
from fleet.sim.node_names import node_id
from fleet.trust.audit import verify_certificate
from fleet.trust.certificate import proof_text, read_certificate, read_proof
from fleet.trust.checks import failures
from tests.bench.figure import Figure, Target
from tests.bench.workloads.still_fleet import still_fleet

T = TypeVar("T")

#: Looks of which the median counts.
LOOKS = 5
#: A certificate of 10,000 nodes.
MOST_BYTES = 1e6
#: Within so many minutes of its own time a fleet has forgotten somebody.
_FORGET_S = 1200.0


class DoesNotHoldError(Exception):
    """A certificate does not hold, or there is none."""


def looks(nodes: int) -> Iterator[Figure]:
    """Yield the figures of a fleet of so many nodes, while one forget goes from its commit to its certificate."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = still_fleet(nodes, Path(folder))
        coordinator, (person,) = fleet.plane.stepped, fleet.roll.people

        def read(work: Callable[[UnitOfWork], T]) -> T:
            return coordinator.coordinator.read_now(work)

        def figure(name: str, work: Callable[[], object], target: Target | None = None, times: int = LOOKS) -> Figure:
            return Figure(f"{nodes} nodes: {name}", tuple(_seconds(work) for _ in range(times)), "s", target)

        with coordinator.transaction() as unit:
            started = time.perf_counter()
            campaign, _ = unit.campaigns.create("forget", [person.tag], allow_unknown=False)
            unit.views.forget(campaign)
            created_s = time.perf_counter() - started
        coordinator.destroy_orphaned_keys()
        yield Figure(f"{nodes} nodes: CreateForget, executions included", (created_s,), "s", Target("<=", 0.5))

        def look(unit: UnitOfWork) -> wire.Forget:
            return unit.views.forget(unit.tx.forgets.get(campaign.campaign_id))

        def advance() -> None:
            with coordinator.transaction() as unit:
                unit.campaigns.advance_all()

        yield figure("look at a forget that nobody has suppressed", lambda: read(look))
        yield figure("reconciler's look at it", advance)
        fleet.scheduler.run_until(fleet.scheduler.now_s + _FORGET_S)
        if (state := read(look).state) != CampaignState.CONVERGED:
            raise DoesNotHoldError(f"the forget is {state} after {_FORGET_S:g} s")
        yield figure("look at a converged forget", lambda: read(look))
        yield Figure(f"{nodes} nodes: summary of a forget", (float(read(look).ByteSize()),), "B")
        request = wire.ListExecutionsRequest(campaign_id=campaign.campaign_id)
        yield figure("page of a hundred receipts", lambda: read(lambda unit: unit.pages.executions(request)))
        certificate = read(lambda unit: unit.certificates.issue(campaign.campaign_id))
        size = Figure(f"{nodes} nodes: certificate", (float(len(certificate)),), "B", Target("<=", MOST_BYTES))
        yield size
        yield figure(
            "certificate issued", lambda: read(lambda unit: unit.certificates.issue(campaign.campaign_id)), times=3
        )
        key = coordinator.coordinator.env.keys.command_public_key
        _, content = read_certificate(certificate, key)
        one = wire.ListEvidenceRequest(
            campaign_id=campaign.campaign_id, tree_size=content.tree_size, node_id=node_id(nodes // 2)
        )
        proof = proof_text(read(lambda unit: unit.certificates.evidence(one)).nodes)
        yield Figure(f"{nodes} nodes: proof of one of them", (float(len(proof)),), "B")
        if failed := failures(verify_certificate(certificate, key, read_proof(proof))):
            raise DoesNotHoldError("; ".join(map(str, failed)))
        whole = coordinator.certificate(campaign.campaign_id)
        yield Figure(f"{nodes} nodes: certificate with every receipt", (float(len(whole)),), "B")
        started = time.perf_counter()
        if failed := failures(verify_certificate(whole, key)):
            raise DoesNotHoldError("; ".join(map(str, failed[:5])))
        checked = (time.perf_counter() - started,)
        yield Figure(f"{nodes} nodes: certificate with every receipt, checked", checked, "s")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
