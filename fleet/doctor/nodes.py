"""Nodes: those that a restore waits for, held and lost ones, and forgets that are overdue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reram_fleet.v1.operator_pb2 import GetFleetResponse, Node

from fleet.coordinator.views import copied
from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target
from fleet.errors import AwaitedNodesError
from fleet.store.database import wall_clock_ms

AREA = Area("nodes")
#: Silence after which somebody should look: most devices are heard of once a day.
_SILENT_MS = 24 * 3600 * 1000
#: A forget that connected nodes have not finished by then has somebody in its way.
_OVERDUE_MS = 3600 * 1000


def check_nodes(target: Target) -> Iterator[Finding]:
    """Look at what an operator has to decide, as the coordinator says, or as its database does if it is silent."""
    if target.answer is not None:
        nodes, fleet = target.answer.nodes, target.answer.fleet
    elif target.folder is not None:
        with target.rows() as tx:
            found = tx.fleet.get()
            nodes = [copied(Node, row, serve_state=0, quarantine_reason=0, overhead=None) for row in tx.nodes.list()]
            fleet = copied(GetFleetResponse, found, nodes_awaited=len(tx.fleet.awaited()))
    else:
        yield AREA.unknown("the coordinator was not asked")
        return
    yield from _restore(fleet, nodes)
    yield from _held(nodes)
    yield from _lost(nodes, connected=target.answer is not None)
    if target.answer is None:
        yield AREA.unknown("who is connected, and which forgets are overdue: no coordinator answers")
    else:
        yield from _overdue(target)


def _restore(fleet: GetFleetResponse, nodes: Sequence[Node]) -> Iterator[Finding]:
    if not fleet.restored_at_unix_ms:
        return
    awaited = [node.node_id for node in nodes if node.awaited_since_unix_ms]
    if fleet.nodes_awaited:
        yield AREA.failure(
            f"restored from a backup: no forget is taken and no lease granted before {some(awaited)} reconnected",
            AwaitedNodesError(awaited).hint,
        )
    elif awaited:
        yield AREA.warning(f"restored from a backup, and gone on without {some(awaited)}", "fleet node show NODE")
    else:
        yield AREA.ok("restored from a backup, and every node has said where it is")


def _held(nodes: Sequence[Node]) -> Iterator[Finding]:
    held = [node for node in nodes if node.held_reason and not node.retired_at_unix_ms]
    for node in held[:5]:
        yield AREA.failure(
            f"{node.node_id} is held: {node.held_reason}",
            f"fleet node show {node.node_id}; docs/operations/held-node.md says what to decide by",
        )
    if len(held) > 5:
        yield AREA.failure(f"{len(held) - 5} more nodes are held", "fleet node list --all")
    if not held:
        yield AREA.ok("no node is held")


def _lost(nodes: Sequence[Node], *, connected: bool) -> Iterator[Finding]:
    since = wall_clock_ms() - _SILENT_MS
    silent = [node.node_id for node in nodes if not node.connected and 0 < node.last_contact_unix_ms < since]
    never = [node.node_id for node in nodes if not node.connected and not node.last_contact_unix_ms]
    if silent:
        yield AREA.warning(
            f"not heard of for a day: {some(silent)}",
            "docs/operations/lost-node.md; what is gone for good: fleet node retire NODE --reason ...",
        )
    if never and connected:
        yield AREA.warning(f"enrolled, and never heard of: {some(never)}", "edge-node run, on the device")
    if not silent and not never:
        yield AREA.ok(f"{len(nodes)} nodes, each heard of within a day" if nodes else "no node is enrolled")


def _overdue(target: Target) -> Iterator[Finding]:
    assert target.answer is not None, "whoever asks has looked"
    before = target.answer.fleet.now_unix_ms - _OVERDUE_MS
    overdue = [each for each in target.answer.forgets if each.created_at_unix_ms < before]
    for forget in overdue[:5]:
        waits = sorted({execution.node_id for execution in forget.examples})
        yield AREA.warning(
            f"forget {forget.campaign_id} is {forget.state} for over an hour; it waits for {some(waits) or 'nobody'}",
            f"fleet forget show {forget.campaign_id}",
        )
    if len(overdue) > 5:
        yield AREA.warning(f"{len(overdue) - 5} more forgets are open for over an hour", "fleet forget list --all")
    if not overdue:
        yield AREA.ok("no forget is open for over an hour")
