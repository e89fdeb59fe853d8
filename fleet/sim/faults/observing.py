"""Looks at a fleet of a history: what a node serves and keeps, and what the coordinator's store says."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum
from typing import Any

from reram_fleet.v1.types_pb2 import RevisionContent

from fleet.coordinator.unit import UnitOfWork
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS, ExecutionState
from fleet.domain.learning import JobState
from fleet.sim.faults.nodes import FaultyMember
from fleet.sim.faults.people import FaultyPeople
from fleet.sim.faults.plane import FaultyPlane
from fleet.store.database import Transaction

#: Forgotten people that a node is asked about at a look: those forgotten last.
ASKED = 4


def look_at_node(member: FaultyMember, people: FaultyPeople, forgotten: Iterable[str]) -> None:
    """Note what a node serves, whom it names among the forgotten, and what it keeps of anybody."""
    if not member.runs or member.retired:
        return
    node, context = member.node, member.node.node.context
    serving, tags = member.serving, list(forgotten)[-ASKED:]
    named = member.names({tag: people.asked(tag) for tag in tags}) if serving else {}
    node.look(
        "seen",
        stopped=member.stopped,
        connected=member.connected,
        named=frozenset(name for names in named.values() for name in names),
        **node.sram,
        kept=frozenset(context.journal.enrolled()),
        keys=frozenset(node.keys_of_people),
        tombstones=frozenset(context.journal.tombstones()),
    )
    spent = context.engine.ledger.fleet_totals()
    saved = context.journal.costs()
    node._record.note(
        *("ledger", node.node_id),
        joules=fsum(cost.energy_j for cost in spent.values()),
        cell_writes=sum(cost.cell_writes for cost in spent.values()),
        saved_joules=fsum(cost.energy_j for cost in saved.values()),
        boot=member.clock.boot_id(),
        lives=member.lives,
    )


def said_by_store(tx: Transaction, content: RevisionContent) -> dict[str, Any]:
    """Return what a store says of people, forgets, nodes and the log; `content` is the newest revision's."""
    campaigns, size = tx.forgets.list(), tx.tree.size()
    return {
        "subjects": frozenset(subject.subject_tag for subject in content.subjects),
        "head": frozenset(content.head.subject_tags),
        "lora": frozenset(row.subject_tag for row in content.shared_lora.rows),
        "campaigns": {each.generation: (tuple(each.tags), each.state) for each in campaigns},
        "verified": frozenset(
            (row.node_id, row.generation)
            for each in campaigns
            for row in tx.forgets.executions(each.campaign_id)
            if row.state in SUCCESS
        ),
        "contributions": frozenset((row.node_id, row.tag) for row in tx.subjects.contributions()),
        "size": size,
        "root": tx.tree.root(size) if size else b"",
        "held": frozenset(node.node_id for node in tx.nodes.held()),
    }


def look_at_coordinator(plane: FaultyPlane) -> None:
    """Note what the coordinator's store says of people, forgets, nodes and its log."""
    if not plane.runs:
        return

    def read(unit: UnitOfWork) -> dict[str, Any]:
        return said_by_store(unit.tx, unit.revisions.latest_content())

    plane.record.note("store", "", **plane.read(read), keys=frozenset(plane.key_ids))


def protocol_states(plane: FaultyPlane, node_id: str) -> frozenset[str]:
    """Return the states of the protocol that a fault meets: of the fleet, or of the node that it concerns."""
    if not plane.runs:
        return frozenset({"coordinator down"})

    def read(unit: UnitOfWork) -> frozenset[str]:
        found, tx = set[str](), unit.tx
        for campaign in tx.forgets.list_open():
            found.add(f"forget {campaign.state.value}")
            if node_id:
                found.add(f"on the node {tx.forgets.execution(campaign.campaign_id, node_id).state.value}")
        if any(job.state is JobState.RUNNING or job.state is JobState.QUEUED for job in tx.learning.list_open()):
            found.add("learning or repairing")
        if tx.fleet.awaited():
            found.add("coordinator restored")
        if tx.nodes.held():
            found.add("a node is held")
        return frozenset(found or {"at rest"})

    found: frozenset[str] = plane.read(read)
    return found


#: States of the protocol that a fault may meet.
STATES = (
    "at rest",
    *(f"forget {state.value}" for state in CampaignState if state is not CampaignState.CONVERGED),
    *(f"on the node {state.value}" for state in ExecutionState if state is not ExecutionState.APPLIED),
    "learning or repairing",
    "a node is held",
    "coordinator restored",
    "coordinator down",
)
