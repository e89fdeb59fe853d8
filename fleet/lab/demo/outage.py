"""A node is killed, the fleet forgets meanwhile, the node comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from reram_fleet.v1 import operator_pb2 as operator

from fleet.client import FleetClient
from fleet.documents import quarantine_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.tags import new_tag
from fleet.lab.demo.evidence import ProbeAnswer
from fleet.lab.demo.people import DemoPerson
from fleet.lab.demo.quality import named
from fleet.local.deadline import Deadline
from fleet.local.engine_client import EngineClient
from fleet.local.errors import EngineCallError
from fleet.local.fleet import LocalFleet

#: The restarted node waits between half of this and all of it before it connects: a window to look at.
CONNECT_DELAY_S = 4.0
#: Samples per person in each question to the restarted node: few, to ask often.
_SAMPLES = 2
_SUPPRESSED = frozenset(ExecutionState) - {ExecutionState.PENDING}


def wait_lost(client: FleetClient, node_id: str, deadline: Deadline) -> None:
    """Wait until the coordinator has noticed that a node is gone."""
    deadline.until(
        f"the coordinator has lost {node_id}", lambda: True if not client.get_node(node_id).node.connected else None
    )


def forget_while_away(
    client: FleetClient, tags: Collection[str], away: str, deadline: Deadline
) -> tuple[operator.Forget, frozenset[str], float]:
    """Commit a forget and wait until every node but the one away has suppressed.

    Returns
    -------
    tuple
        The campaign, the nodes that had suppressed, and the seconds from the call on.
    """
    started = time.monotonic()
    campaign_id = client.create_forget(new_tag(), sorted(tags)).forget.campaign_id

    def suppressed() -> operator.Forget | None:
        forget = client.get_forget(campaign_id)
        others = [e for e in forget.executions if e.node_id != away]
        everywhere = all(e.state in _SUPPRESSED for e in others)
        return forget if everywhere and forget.HasField("seconds_to_suppress") else None

    forget = deadline.until("every connected node has suppressed", suppressed, poll_s=0.02)
    seconds = time.monotonic() - started
    return forget, frozenset(e.node_id for e in forget.executions if e.state in _SUPPRESSED), seconds


def count_leaks(fleet: LocalFleet, person: DemoPerson, tags: Collection[str], away: int) -> int:
    """Return for how many test samples a connected node still names the forgotten person."""
    leaks = 0
    for index in range(len(fleet.nodes)):
        if index != away:
            with fleet.engine(index) as engine:
                leaks += named(engine.identify(person.test).answers, tags)
    return leaks


def watch_return(
    fleet: LocalFleet,
    index: int,
    ask: Callable[[EngineClient, float], ProbeAnswer],
    generation: int,
    deadline: Deadline,
) -> tuple[ProbeAnswer, ...]:
    """Restart a node and ask it, from its first moment on, until it serves at this generation.

    Parameters
    ----------
    ask
        Puts one question to the node's engine; is told the seconds since the start.

    Returns
    -------
    tuple of ProbeAnswer
        Every answer, oldest first; the last one is with adapters.
    """
    started = time.monotonic()
    fleet.start_node(index, connect_delay_s=CONNECT_DELAY_S)
    deadline.until("the restarted node has bound its ports", lambda: fleet.nodes[index].running(), poll_s=0.02)
    probe_answers: list[ProbeAnswer] = []

    def back() -> tuple[ProbeAnswer, ...] | None:
        try:
            with fleet.engine(index) as engine:
                probe_answer = ask(engine, time.monotonic() - started)
        except EngineCallError:
            # The port is bound, the service not yet up: nothing was answered, so nothing leaked.
            return None
        probe_answers.append(probe_answer)
        caught_up = probe_answer.generation >= generation and not probe_answer.backbone_only
        return tuple(probe_answers) if caught_up else None

    return deadline.until("the restarted node serves again", back, poll_s=0.05)


def who_is_heard(
    people: Sequence[DemoPerson], forgotten_tags: Collection[str]
) -> Callable[[EngineClient, float], ProbeAnswer]:
    """Return the question of whose samples these are, a few of each person's."""
    samples = [sample for person in people for sample in person.test[:_SAMPLES]]

    def ask(engine: EngineClient, at_s: float) -> ProbeAnswer:
        response = engine.identify(samples)
        return ProbeAnswer(
            at_s=at_s,
            backbone_only=response.backbone_only,
            reason=quarantine_name(response.quarantine_reason),
            generation=response.generation,
            named=sum(bool(a.best_tag or a.best_tag_subject_only or a.best_tag_without_head) for a in response.answers),
            named_forgotten=named(response.answers, forgotten_tags),
        )

    return ask


def wait_converged(client: FleetClient, campaign_id: str, deadline: Deadline) -> operator.Forget:
    """Wait until every node has verified."""

    def converged() -> operator.Forget | None:
        forget = client.get_forget(campaign_id)
        return forget if forget.state == CampaignState.CONVERGED else None

    return deadline.until("every node has verified the forget", converged, poll_s=0.1)
