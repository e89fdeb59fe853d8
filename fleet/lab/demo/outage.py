"""Outage of a node: the fleet forgets while it is dead, and it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import operator_pb2 as operator

from fleet.client import FleetClient
from fleet.domain.execution import ExecutionState
from fleet.lab.demo.evidence import ProbeAnswer
from fleet.local.deadline import Deadline
from fleet.local.engine_client import EngineClient
from fleet.local.errors import EngineCallError
from fleet.local.fleet import LocalFleet

#: The restarted node waits between half of this and all of it before it connects: a window to look at.
CONNECT_DELAY_S = 4.0


def wait_lost(client: FleetClient, node_id: str, deadline: Deadline) -> None:
    """Wait until the coordinator has noticed that a node is gone."""
    deadline.until(f"the coordinator has lost {node_id}", lambda: not client.get_node(node_id).node.connected or None)


def forget_while_away(
    client: FleetClient, tags: Collection[str], away: str, deadline: Deadline
) -> tuple[operator.Forget, frozenset[str], float]:
    """Commit a forget and wait until every node but the one away has suppressed.

    Returns the campaign, the nodes that had suppressed, and the seconds from the call on.
    """
    started = time.monotonic()
    campaign_id = client.create_forget(new_tag(), sorted(tags)).forget.campaign_id

    def suppressed() -> operator.Forget | None:
        forget = client.get_forget(campaign_id)
        return forget if forget.HasField("seconds_to_suppress") and not _pending(forget) - {away} else None

    forget = deadline.until("every connected node has suppressed", suppressed, poll_s=0.02)
    seconds = time.monotonic() - started
    states = {e.node_id: e.state for e in client.list_executions(campaign_id).items}
    there = frozenset(node_id for node_id, state in states.items() if state != ExecutionState.PENDING)
    return forget, there, seconds


def _pending(forget: operator.Forget) -> set[str]:
    """Return the first few nodes that have not suppressed."""
    return {execution.node_id for execution in forget.examples if execution.state == ExecutionState.PENDING}


def watch_return(
    fleet: LocalFleet,
    index: int,
    ask: Callable[[EngineClient, float], ProbeAnswer],
    generation: int,
    deadline: Deadline,
) -> tuple[ProbeAnswer, ...]:
    """Restart a node and ask it, from its first moment on, until it serves at this generation.

    `ask` puts one question to the node's engine, and is told the seconds since the start. Returns every answer, oldest
    first; the last one is with adapters.
    """
    started = time.monotonic()
    fleet.start_node(index, connect_delay_s=CONNECT_DELAY_S)
    deadline.until("the restarted node has bound its ports", lambda: fleet.nodes[index].running(), poll_s=0.02)
    answers: list[ProbeAnswer] = []

    def back() -> tuple[ProbeAnswer, ...] | None:
        try:
            with fleet.engine(index) as engine:
                answers.append(ask(engine, time.monotonic() - started))
        except EngineCallError:
            # The port is bound, the service not yet up: nothing was answered, so nothing leaked.
            return None
        caught_up = answers[-1].generation >= generation and not answers[-1].backbone_only
        return tuple(answers) if caught_up else None

    return deadline.until("the restarted node serves again", back, poll_s=0.1)
