"""Enrolment of people: the caller's registry gets a tag, nodes get samples, and it becomes a revision."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.lab.demo.people import DemoPerson
from fleet.local.deadline import Deadline
from fleet.local.engine_client import EngineClient
from fleet.local.fleet import LocalFleet

#: A revision counts as the last one when no other has followed for this long.
_SETTLED_S = 2.0
#: Nodes that are asked at the same time: there are as many cores.
_AT_ONCE = 2

T = TypeVar("T")


def ask_nodes(
    fleet: LocalFleet, ask: Callable[[EngineClient, int], T], indices: Sequence[int] | None = None
) -> dict[str, T]:
    """Put a question to the engines of all nodes, or of some by index; returns the answers by node id."""
    asked = range(len(fleet.nodes)) if indices is None else indices

    def one(index: int) -> T:
        with fleet.engine(index) as engine:
            return ask(engine, index)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip((fleet.nodes[index].node_id for index in asked), pool.map(one, asked), strict=True))


def enrol(
    fleet: LocalFleet, people: Sequence[DemoPerson], first: int = 0
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Enrol each person on two neighbouring nodes, with half of their training samples on each.

    The first person's are the node of index `first` and the next one, the next person's one further. Returns person
    to tag, and person to the nodes that captured their samples.
    """
    tags: dict[str, str] = {}
    where: dict[str, tuple[str, ...]] = {}
    for number, person in enumerate(people, start=first):
        tags[person.name] = fleet.registry.enrol(person.name)
        chosen = [number % len(fleet.nodes), (number + 1) % len(fleet.nodes)]
        ticket = fleet.ticket(tags[person.name], *chosen)
        # Every second sample: halves of a recording session would differ.
        halves = {node: person.train[half::2] for half, node in enumerate(chosen)}
        found = ask_nodes(fleet, lambda engine, node: engine.enroll(ticket, halves[node]), chosen)  # noqa: B023
        where[person.name] = tuple(found)
    return tags, where


def wait_active_everywhere(
    fleet: LocalFleet, tags: frozenset[str], deadline: Deadline, *, at_least: int = 1
) -> dict[str, GetStatusResponse]:
    """Wait until every node serves one revision, at least this one, with these tags; returns statuses by node id."""
    since: list[tuple[int, float]] = []

    def settled() -> dict[str, GetStatusResponse] | None:
        found = statuses(fleet)
        with fleet.client() as client:
            desired = client.get_fleet()
        agreed = desired.revision >= at_least and all(
            status.revision == desired.revision
            and status.revision_digest == desired.revision_digest
            and status.serve_state == types.SERVE_STATE_SERVING
            and tags <= set(status.subject_tags)
            for status in found.values()
        )
        if not agreed:
            since.clear()
            return None
        if not since or since[0][0] != desired.revision:
            since[:] = [(desired.revision, time.monotonic())]
        return found if time.monotonic() - since[0][1] >= _SETTLED_S else None

    return deadline.until("one revision is active on every node", settled)


def statuses(fleet: LocalFleet) -> dict[str, GetStatusResponse]:
    """Return every node's status, by node id."""
    return ask_nodes(fleet, lambda engine, _: engine.status())
