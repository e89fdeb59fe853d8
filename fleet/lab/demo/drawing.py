"""Drawings of a fleet's nodes, asked through each node's own EngineService."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from reram_fleet.v1 import engine_pb2 as engine

from fleet.documents import quarantine_name
from fleet.lab.demo.classes import DemoClasses, pictures
from fleet.lab.demo.evidence import Drawings, ProbeAnswer
from fleet.lab.demo.people import DemoPerson
from fleet.local.engine_client import EngineClient
from fleet.local.fleet import LocalFleet

#: Drawn on each node of each public class, and of each private one.
PUBLIC_IMAGES, PRIVATE_IMAGES = 8, 25
#: Of the noise: the same before and after, another on every node, so that their images count separately.
_SEED, _FRESH_SEED, _NODE_STRIDE = 1, 2, 1000
#: Nodes that are asked at the same time: there are as many cores.
_AT_ONCE = 2


@dataclass
class Album:
    """Pictures worth keeping: what the first node drew of the class to forget."""

    rows: list[tuple[str, np.ndarray]] = field(default_factory=list)


def enrol_class(fleet: LocalFleet, person: DemoPerson, first: int) -> tuple[str, tuple[str, ...]]:
    """Have two neighbouring nodes learn a class, each from half of its images, at the same time.

    Returns
    -------
    tuple
        Its tag, and the nodes.
    """
    tag = fleet.registry.enrol(person.name)
    chosen = (first % len(fleet.nodes), (first + 1) % len(fleet.nodes))
    ticket = fleet.ticket(tag, *chosen)

    def learn(half: int) -> None:
        with fleet.engine(chosen[half]) as client:
            client.enroll(ticket, person.train[half::2])

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(learn, range(2)))
    return tag, tuple(fleet.nodes[index].node_id for index in chosen)


def draw_everywhere(
    fleet: LocalFleet,
    classes: DemoClasses,
    kept: Mapping[str, str],
    forgotten: str,
    tag: str | None,
    *,
    album: Album | None = None,
    title: str = "",
) -> dict[str, Drawings]:
    """Have every node draw every class, always from the same noise.

    Parameters
    ----------
    kept
        Tag of each private class that stays.
    forgotten, tag
        The class to forget, and its tag; None before it has one.
    album, title
        Gets what the first node drew of the class to forget, under these words.
    """

    def one(index: int) -> Drawings:
        with fleet.engine(index) as client:
            seed = _SEED + _NODE_STRIDE * index
            return _draw(client, seed, classes, kept, forgotten, tag, album if index == 0 else None, title)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        drawn = list(pool.map(one, range(len(fleet.nodes))))
    return {node.node_id: found for node, found in zip(fleet.nodes, drawn, strict=True)}


def _draw(
    client: EngineClient,
    seed: int,
    classes: DemoClasses,
    kept: Mapping[str, str],
    forgotten: str,
    tag: str | None,
    album: Album | None,
    title: str,
) -> Drawings:
    digest = hashlib.sha256()
    public: list[float] = []
    for name in classes.public:
        drawn = client.generate(PUBLIC_IMAGES, seed, class_name=name)
        digest.update(drawn.levels)
        public.append(_share(classes.hits(drawn, name)))
    private = {}
    for name, own in kept.items():
        drawn = client.generate(PRIVATE_IMAGES, seed, subject_tag=own)
        digest.update(drawn.levels)
        private[name] = _share(classes.hits(drawn, name))
    alone = client.generate(PRIVATE_IMAGES, seed, class_name=forgotten)
    digest.update(alone.levels)
    hits, images = classes.hits(alone, forgotten)
    by_tag = None if tag is None else client.generate(PRIVATE_IMAGES, seed, subject_tag=tag)
    if album is not None:
        album.rows.append((f"{title}: by its name", pictures(alone)))
        if by_tag is not None and not by_tag.refusal:
            album.rows.append((f"{title}: by its tag", pictures(by_tag)))
    return Drawings(
        public=sum(public) / len(public),
        private=private,
        forgotten=None if by_tag is None or by_tag.refusal else _share(classes.hits(by_tag, forgotten)),
        refusal=_refusal(by_tag) if by_tag is not None else "",
        alone=hits,
        alone_images=images,
        digest=digest.hexdigest(),
    )


def draw_alone_anew(fleet: LocalFleet, classes: DemoClasses, name: str) -> tuple[int, int]:
    """Return how many images of all nodes show a class, drawn by its name from fresh noise; and how many."""
    hits = images = 0
    for index in range(len(fleet.nodes)):
        with fleet.engine(index) as client:
            drawn = client.generate(PRIVATE_IMAGES, _FRESH_SEED + _NODE_STRIDE * index, class_name=name)
        shown, count = classes.hits(drawn, name)
        hits, images = hits + shown, images + count
    return hits, images


def count_drawn(fleet: LocalFleet, tags: Collection[str], away: int) -> int:
    """Return how many images of forgotten tags the connected nodes still draw."""
    drawn = 0
    for index in range(len(fleet.nodes)):
        if index != away:
            with fleet.engine(index) as client:
                for tag in tags:
                    answer = client.generate(1, _SEED, subject_tag=tag)
                    refused = answer.refusal == engine.GENERATE_REFUSAL_FORGOTTEN_TAG
                    drawn += len(pictures(answer)) if not refused else 0
    return drawn


def what_is_drawn(
    kept_tags: Sequence[str], forgotten_tags: Collection[str]
) -> Callable[[EngineClient, float], ProbeAnswer]:
    """Return the question whether a node draws private classes: one that is kept, and the forgotten one.

    The forgotten one first: what the node says of the kept one afterwards is then no older.
    """

    def ask(client: EngineClient, at_s: float) -> ProbeAnswer:
        gone = [client.generate(1, _SEED, subject_tag=tag) for tag in sorted(forgotten_tags)]
        kept = client.generate(1, _SEED, subject_tag=kept_tags[0])
        drawn = sum(len(answer.levels) > 0 for answer in gone)
        return ProbeAnswer(
            at_s=at_s,
            backbone_only=kept.refusal == engine.GENERATE_REFUSAL_QUARANTINED,
            reason=quarantine_name(kept.quarantine_reason),
            generation=kept.generation,
            named=drawn + (len(kept.levels) > 0),
            named_forgotten=drawn,
        )

    return ask


def _refusal(answer: engine.GenerateResponse) -> str:
    name = engine.GenerateRefusal.Name(answer.refusal) if answer.refusal else ""
    return name.removeprefix("GENERATE_REFUSAL_").replace("_", "-").lower()


def _share(counts: tuple[int, int]) -> float:
    hits, images = counts
    return hits / images if images else 0.0
