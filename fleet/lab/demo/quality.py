"""How each node treats test samples, asked through its own EngineService."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reram_fleet.v1.engine_pb2 import Answer

from fleet.lab.demo.evidence import Quality
from fleet.lab.demo.people import DemoPeople, DemoPerson
from fleet.local.deadline import Deadline
from fleet.local.engine_client import EngineClient
from fleet.local.fleet import LocalFleet


def measure(fleet: LocalFleet, people: DemoPeople, tags: Mapping[str, str], forgotten: str) -> dict[str, Quality]:
    """Return the figures of every node, by node id.

    Parameters
    ----------
    tags
        Tag of each enrolled person.
    forgotten
        Name of the person who is forgotten, or is going to be.
    """
    found = {}
    for index, node in enumerate(fleet.nodes):
        with fleet.engine(index) as engine:
            found[node.node_id] = _measure_node(engine, people, tags, forgotten)
    return found


def _measure_node(engine: EngineClient, people: DemoPeople, tags: Mapping[str, str], forgotten: str) -> Quality:
    kept: list[tuple[str, Answer]] = []
    gone: list[tuple[str, Answer]] = []
    strangers: list[Answer] = []
    backbone_only = False
    for person in people.enrolled:
        response = engine.identify(person.test)
        backbone_only |= response.backbone_only
        answers = gone if person.name == forgotten else kept
        answers += [(tags[person.name], answer) for answer in response.answers]
    for person in people.strangers:
        response = engine.identify(person.test)
        backbone_only |= response.backbone_only
        strangers += response.answers
    return Quality(
        retain_accuracy=_share([a.best_tag == tag for tag, a in kept]),
        retain_accuracy_subject_only=_share([a.best_tag_subject_only == tag for tag, a in kept]),
        forget_accuracy=_share([a.best_tag == tag for tag, a in gone]),
        forget_accuracy_subject_only=_share([a.best_tag_subject_only == tag for tag, a in gone]),
        retain_accuracy_without_head=_share([a.best_tag_without_head == tag for tag, a in kept]),
        forget_accuracy_without_head=_share([a.best_tag_without_head == tag for tag, a in gone]),
        genuine_accept_rate=_share([a.accepted for _, a in kept]),
        forget_accept_rate=_share([a.accepted for _, a in gone]),
        stranger_accept_rate=_share([a.accepted for a in strangers]),
        forget_samples=len(gone),
        stranger_samples=len(strangers),
        backbone_only=backbone_only,
    )


def acceptance(fleet: LocalFleet, person: DemoPerson, deadline: Deadline) -> dict[str, float]:
    """Return the share of a person's test samples that each node accepts as somebody, by node id."""
    found = {}
    for index, node in enumerate(fleet.nodes):
        with fleet.engine(index) as engine:
            # Without adapters nobody is accepted, which says nothing.
            answers = deadline.until(
                f"{node.node_id} answers with its adapters",
                lambda engine=engine: engine.identify(person.test).answers or None,
            )
        found[node.node_id] = _share([answer.accepted for answer in answers])
    return found


def named(answers: Sequence[Answer], tags: Collection[str]) -> int:
    """Return how many answers name one of these tags, accepted or not."""
    return sum(not {a.best_tag, a.best_tag_subject_only, a.best_tag_without_head}.isdisjoint(tags) for a in answers)


def _share(hits: Sequence[bool]) -> float:
    # No answers is no accuracy, and must not look like a perfect one.
    return sum(hits) / len(hits) if hits else 0.0
