"""Scenarios: what is simulated, as a TOML file says it, checked before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from reram_fleet.tasks import task_names

from fleet.config import PRESETS
from fleet.errors import InvalidInputError, NotFoundError, reason_of
from fleet.sim.node_names import node_id

#: Task of integer codes that are drawn, on a chip that costs what a small one does: for questions about the protocol.
MADE_UP = "made-up"

_UNITS_S = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 100 * 365 * 86400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")


class ScenarioError(InvalidInputError):
    """A scenario does not say what can be simulated."""


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no duration: a number and one of {', '.join(_UNITS_S)}, like '12h'")
    return float(found[1]) * _UNITS_S[found[2]]


#: Seconds, written as a number of them or as text with a unit: "250ms", "90s", "5min", "12h", "7d".
Duration = Annotated[
    float,
    Field(gt=0, le=_LONGEST_S),
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_S},
                {"type": "string", "pattern": f"^\\s*{_DURATION.pattern}\\s*$"},
            ]
        }
    ),
]
#: Share of something, 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Fleet(_Table):
    """Nodes, what they run, and who is enrolled on them at the start."""

    nodes: int = Field(default=20, ge=1, le=1_000_000)
    """Nodes at the start."""
    task: str = MADE_UP
    """`made-up`, or a task of the product: speakers, faces, faces-yale-b, fsdd; on small chips: faces-64, fsdd-8,
    speakers-4, speakers-8, speakers-16."""
    preset: str = Field(default="180nm-1t1r", json_schema_extra={"enum": list(PRESETS)})
    """Chip technology."""
    people: int = Field(default=12, ge=0, le=1_000_000)
    """People enrolled at the start; a task of the product has only so many. Names are drawn for a made-up task."""
    nodes_per_person: int = Field(default=2, ge=1)
    """Nodes that each person shows up at."""
    head: bool = True
    """Whether there is a closed-form head: for each person a node then sends the square of its features (faces: 2 MB),
    which the coordinator keeps; too much for thousands of nodes."""
    samples: int = Field(default=4, ge=1, le=1000)
    """Samples that one node captures of a person (a task of the product: at most so many)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.nodes_per_person > self.nodes:
            raise ValueError(f"nodes_per_person is {self.nodes_per_person}, but there are only {self.nodes} nodes")
        if self.task != MADE_UP and self.task not in task_names():
            raise ValueError(f"there is no task {self.task!r}: {MADE_UP}, {', '.join(task_names())}")
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}: {', '.join(PRESETS)}")
        return self


class Chip(_Table):
    """Life of the chips, of a task of the product: those of a made-up task have none."""

    relaxation: Literal["none", "wan", "cmo"] | None = None
    """How conductances move with a cell's age; as the preset says if left out. `fleet chip fits` shows the models."""
    calibrate_every: Duration | None = None
    """How often a node calibrates its chip on the public samples, at the heartbeat that follows; only when it starts if
    left out."""
    programming_sigma_us: float | None = Field(default=None, ge=0)
    """Standard deviation (uS) of what a cell takes from what it was programmed to; as the preset says if left out."""
    stuck_share: Share | None = None
    """Share of the cells that are stuck, half at either end of the window; as the preset says if left out."""

    @property
    def ages(self) -> bool:
        """Whether anything is said of how it ages."""
        return self.relaxation is not None or self.calibrate_every is not None

    @property
    def cell_values(self) -> Mapping[str, float]:
        """Numbers of the preset that are said anew."""
        values = {} if self.programming_sigma_us is None else {"cell.programming_sigma_us": self.programming_sigma_us}
        if self.stuck_share is not None:
            values |= {f"cell.stuck_{end}_share": self.stuck_share / 2 for end in ("low", "high")}
        return values


class Time(_Table):
    """Virtual time: how long it runs, and what of the protocol depends on time."""

    duration: Duration = 86400.0
    """How long the scenario lasts."""
    heartbeat: Duration = 60.0
    """Between two heartbeats of a node; the coordinator may ask for fewer."""
    lease: Duration = 3600.0
    """How long a node out of contact goes on serving adapters."""
    lost_after: Duration = 7 * 86400.0
    """How long forgets wait for a node out of contact."""
    sample_every: Duration = 3600.0
    """Between two lines of the table of the fleet's state."""


class Link(_Table):
    """Way of a message between coordinator and node."""

    latency: tuple[Duration, Duration] = (0.02, 0.2)
    """Least and greatest latency of one way, drawn evenly."""
    loss: Share = 0.0
    """Share of the messages that are lost; the stream is then cut."""
    duplicate: Share = 0.0
    """Share of the messages that are sent twice."""
    reorder: Share = 0.0
    """Share of the messages that are overtaken by later ones."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.latency[0] > self.latency[1]:
            raise ValueError(f"latency is [least, greatest]; got {list(self.latency)}")
        return self


class Churn(_Table):
    """Comings and goings of nodes, at random times."""

    outages_per_day: float = Field(default=0.0, ge=0, le=1000)
    """Times a day that a node is out of reach."""
    outage: Duration = 3600.0
    """How long it is out of reach: mean of an exponential distribution."""
    crashes_per_day: float = Field(default=0.0, ge=0, le=1000)
    """Restarts of a node's daemon a day: a crash, and a start from what is on disk."""
    joins_per_day: float = Field(default=0.0, ge=0)
    """Nodes that join a day, over the whole fleet."""
    retirements_per_day: float = Field(default=0.0, ge=0)
    """Nodes that are retired a day, over the whole fleet."""


class Forgets(_Table):
    """Forgets that are ordered: at given times, and at random ones."""

    at: tuple[Duration, ...] = ()
    """When one person each is forgotten."""
    every: Duration | None = None
    """Every so long one person is forgotten."""
    share_per_day: Share = 0.0
    """Share of the enrolled people who are forgotten each day, at random times."""


class Enrolments(_Table):
    """Newcomers, beside those who are there at the start."""

    per_day: float = Field(default=0.0, ge=0)
    """People who are enrolled a day, at random times, until the task has no more."""


class Operator(_Table):
    """Decisions that an operator takes by a rule."""

    retire_held_after: Duration | None = None
    """How long a node is held, since its receipts contradict what is known, before it is retired; never if left out."""


class Learning(_Table):
    """Learning by gradient, by Flower's own strategy over the real rounds."""

    rounds: int = Field(default=0, ge=0, le=1000)
    """Rounds of the shared LoRA, trained when everybody is enrolled, or of each cohort shard; 0: none, or as many as
    shards have by default."""
    shards: int = Field(default=0, ge=0, le=1000)
    """Cohort shards in place of one LoRA that all share; 0: none."""
    every: Duration | None = None
    """How often it is trained anew with whoever has come since; never if left out."""

    @property
    def learns(self) -> bool:
        """Whether anything is learnt so."""
        return self.rounds + self.shards > 0


class FaultKind(StrEnum):
    """Kind of a fault."""

    CRASH = "crash"
    COORDINATOR_CRASH = "coordinator-crash"
    OUTAGE = "outage"
    LOST_MESSAGES = "lost-messages"
    CLOCK_JUMP = "clock-jump"
    RESTORED_BACKUP = "restored-backup"
    LIES = "lies"


class Fault(_Table):
    """Fault at a time of one's choice."""

    kind: FaultKind
    """Kind of the fault."""
    at: Duration
    """When it begins."""
    nodes: tuple[str, ...] | Share = ()
    """Node ids, or the share of the nodes that it meets, drawn. The coordinator's crash names none; without any, it is
    the coordinator's clock that jumps."""
    lasts: Duration = 3600.0
    """How long an outage or a link that loses messages lasts; how far a clock jumps."""
    backwards: bool = False
    """Whether a clock jumps back."""
    loss: Share = 1.0
    """Share of the messages that are lost."""

    @model_validator(mode="after")
    def _meets_somebody(self) -> Self:
        if not self.nodes and self.kind not in (FaultKind.COORDINATOR_CRASH, FaultKind.CLOCK_JUMP):
            raise ValueError(f"a fault of kind {self.kind} meets nobody: give nodes, ids or a share of them")
        return self


class Scenario(_Table):
    """One simulation, apart from its seed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """Name of its runs: small letters, digits and hyphens."""
    title: str
    """What it is about, in a line."""
    question: str
    """What a researcher would ask."""
    reading: str = ""
    """How the answer is read off the tables and plots."""
    fleet: Fleet = Fleet()
    chip: Chip = Chip()
    time: Time = Time()
    link: Link = Link()
    churn: Churn = Churn()
    forgets: Forgets = Forgets()
    enrolments: Enrolments = Enrolments()
    operator: Operator = Operator()
    learning: Learning = Learning()
    faults: tuple[Fault, ...] = ()
    """Faults at times of one's choice."""
    sweep: Mapping[str, tuple[Any, ...]] = {}
    """Values by dotted key ("time.lease") that `fleet sim sweep` goes through."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.learning.learns and self.fleet.task == MADE_UP:
            raise ValueError("a made-up task has nothing to learn by gradient: fleet.task = 'speakers' or 'faces'")
        if (self.chip.ages or self.chip.cell_values) and self.fleet.task == MADE_UP:
            raise ValueError(
                "the chips of a made-up task have no cells that age or calibrate: fleet.task = 'speakers' or 'faces'"
            )
        for fault in self.faults:
            if fault.at > self.time.duration:
                raise ValueError(f"the fault {fault.kind} at {fault.at:g} s is after the end, {self.time.duration:g} s")
            named = () if isinstance(fault.nodes, float) else fault.nodes
            there = {node_id(number) for number in range(self.fleet.nodes)}
            # Others may join before.
            if not self.churn.joins_per_day and (unknown := sorted(set(named) - there)):
                raise ValueError(f"the fault {fault.kind} names {unknown[0]!r}, which is no node of the fleet")
        return self

    @classmethod
    def parse(cls, text: str, changes: Mapping[str, Any] | None = None, *, where: str = "the scenario") -> Self:
        """Read a scenario, with some values changed by dotted key.

        `ScenarioError` with every line that is wrong.
        """
        try:
            table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ScenarioError(f"{where} is no TOML: {error}") from error
        return cls._made(table, changes or {}, where)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return it with some values changed by dotted key; raises as `parse`."""
        return self._made(self.model_dump(mode="json", exclude_none=True), changes, self.name)

    @classmethod
    def _made(cls, table: dict[str, Any], changes: Mapping[str, Any], where: str) -> Self:
        for key, value in changes.items():
            _set(table, key, value)
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'scenario'}: {e['msg']}" for e in error.errors())
            raise ScenarioError(f"{where} cannot be simulated: {wrong}", hint="fleet sim show --schema") from error

    @classmethod
    def load(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Self:
        """Read a scenario's file; raises as `parse`, and `NotFoundError` if there is none."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFoundError(f"cannot read {path}: {reason_of(error)}") from error
        return cls.parse(text, changes, where=str(path))


def _set(table: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ScenarioError(f"{key!r} names no value of a scenario: {part!r} is none of its tables")
    table[last] = value
