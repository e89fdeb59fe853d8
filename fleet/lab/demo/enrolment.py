"""Enrolling people: the caller's registry gets a tag, nodes get samples, and it becomes a revision."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.lab.demo.people import DemoPerson
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalFleet

#: A revision counts as the last one when no other has followed for this long.
_SETTLED_S = 2.0


def enrol(
    fleet: LocalFleet, people: Sequence[DemoPerson], first: int = 0
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Enrol each person with half of their training samples on each of two neighbouring nodes.

    Parameters
    ----------
    first
        How many people were enrolled before: which nodes a person goes to is their number's matter.

    Returns
    -------
    tuple
        Person to tag, and person to the nodes that captured their samples.
    """
    tags: dict[str, str] = {}
    where: dict[str, tuple[str, ...]] = {}
    count = len(fleet.nodes)
    for index, person in enumerate(people, start=first):
        tags[person.name] = fleet.registry.enrol(person.name)
        chosen = (index % count, (index + 1) % count)
        # Every second sample: halves of a recording session would differ.
        ticket = fleet.ticket(tags[person.name], *chosen)
        for half, node in enumerate(chosen):
            with fleet.engine(node) as engine:
                engine.enroll(ticket, person.train[half::2])
        where[person.name] = tuple(fleet.nodes[node].node_id for node in chosen)
    return tags, where


def wait_active_everywhere(
    fleet: LocalFleet, tags: frozenset[str], deadline: Deadline, *, at_least: int = 1
) -> dict[str, GetStatusResponse]:
    """Wait until one and the same revision with these tags is active on every node, and stays.

    Parameters
    ----------
    at_least
        The revision to wait for, or a later one.

    Returns
    -------
    dict
        Node id to its status.
    """
    since: list[tuple[int, float]] = []

    def settled() -> dict[str, GetStatusResponse] | None:
        found = statuses(fleet)
        with fleet.client() as client:
            desired = client.get_fleet()
        agreed = desired.revision >= at_least and all(
            status.revision == desired.revision
            and status.revision_digest == desired.revision_digest
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
    found = {}
    for index, node in enumerate(fleet.nodes):
        with fleet.engine(index) as engine:
            found[node.node_id] = engine.status()
    return found
