"""Task of the demo: what nodes that recognise, or that generate, contribute to its one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Generic

from reram_fleet.v1.types_pb2 import Receipt
from rich.table import Table

from fleet.documents import Document
from fleet.lab.demo.claims import Claim
from fleet.lab.demo.evidence import ChipRates, Evidence, M, ProbeAnswer
from fleet.lab.demo.people import DemoPerson
from fleet.local.engine_client import EngineClient


class Moment(StrEnum):
    """Moment at which nodes are measured, by what the person to forget is to them."""

    NEVER = "never enrolled"
    BEFORE = "enrolled"
    AFTER = "forgotten"
    WELCOMED = "forgotten, and a newcomer learnt"


@dataclass(frozen=True)
class Subjects:
    """Tags of the kept people and the newcomer, by name, and of the person to forget: None before they are enrolled."""

    kept: Mapping[str, str]
    tag: str | None = None


class DemoTask(ABC, Generic[M]):
    """Contribution of one kind of node; `M` is what is measured of a node."""

    #: Whom nodes learn, in this order; the last one is forgotten.
    people: tuple[DemoPerson, ...]
    #: What they are called.
    nouns: ClassVar[str]
    #: Whether nodes take part in learning jobs.
    learns: ClassVar[bool]
    #: What has to hold, beside what holds of every fleet.
    claims: Sequence[Callable[[Evidence[Any]], Claim]]
    #: Who is enrolled when the other has been forgotten; until then a stranger.
    newcomer: DemoPerson | None = None

    @property
    def forgotten(self) -> DemoPerson:
        """The person who is forgotten, or is going to be."""
        return self.people[-1]

    @abstractmethod
    def measure(self, engine: EngineClient, index: int, subjects: Subjects, moment: Moment) -> M:
        """Return how a node, the `index`-th, treats everybody at a moment."""

    @abstractmethod
    def leaks(self, engine: EngineClient, tag: str) -> int:
        """Return how many answers of a node are still those of the forgotten person."""

    @abstractmethod
    def probe(self, engine: EngineClient, subjects: Subjects, at_s: float) -> ProbeAnswer:
        """Put one quick question to a node that has been restarted so many seconds ago."""

    @abstractmethod
    def node_fields(self, evidence: Evidence[M], node_id: str, receipt: Receipt | None) -> Document:
        """Return what the report tells of a node beside what it tells of every one."""

    def fields(self, evidence: Evidence[M]) -> Document:
        """Return what the report tells of the fleet beside what it tells of every one."""
        return {}

    @abstractmethod
    def tables(self, document: Document) -> Iterable[Table]:
        """Return the first closing tables, from the report."""

    def on_other_chips(self, say: Callable[[str], None]) -> tuple[ChipRates, ...]:
        """Return how the same people fare on worn and on small chips; nothing if that is no question."""
        return ()

    def save_pictures(self, path: Path) -> bool:
        """Save pictures of what was seen; False if there are none (faces are nobody's pictures)."""
        return False
