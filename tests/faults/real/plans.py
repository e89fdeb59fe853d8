"""Plans: what operators do with a fleet of real processes and what fails in it, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from hwmodel import keyed_seed

#: Lease of the fleet: a fault in so many outlasts it.
LEASE_S, OUTLASTS = 4.0, 6


class Kind(StrEnum):
    """Kind of a step."""

    ENROL = "enrol"
    FORGET = "forget"
    LEARN = "learn"
    UPGRADE = "upgrade"

    KILL = "kill"
    STOP = "stop"
    DISK_FULL = "disk-full"
    BYTES_LOST = "bytes-lost"
    HALF_OPEN = "half-open"
    SLOW_LINK = "slow-link"
    RESET_LINK = "reset-link"
    PACKETS_LOST = "packets-lost"
    UNPLUGGED = "unplugged"
    DATABASE_KILLED = "database-killed"
    DATABASE_RESTARTED = "database-restarted"


#: What people do; all other kinds are faults.
OPERATIONS = frozenset({Kind.ENROL, Kind.FORGET, Kind.LEARN, Kind.UPGRADE})

#: What a step of each kind does.
MEANING: Mapping[Kind, str] = {
    Kind.ENROL: "a person is enrolled on one or two nodes; what was not answered is asked for again",
    Kind.FORGET: "a person is forgotten; the operator repeats the command until it is acknowledged",
    Kind.LEARN: "a shared LoRA is learnt by Flower",
    Kind.UPGRADE: "a process is ended in order (SIGTERM), and started again",
    Kind.KILL: "a process is killed (SIGKILL), and started again",
    Kind.STOP: "a process stands still (SIGSTOP), and goes on (SIGCONT)",
    Kind.DISK_FULL: "the small file system of a folder has no room; else its process can write no file",
    Kind.BYTES_LOST: "what either side of a link sends is lost",
    Kind.HALF_OPEN: "what one side of a link sends is lost",
    Kind.SLOW_LINK: "what either side of a link sends comes late",
    Kind.RESET_LINK: "connections of a link are reset",
    Kind.PACKETS_LOST: "a share of the packets is lost in the node's network namespace; else its link is slow",
    Kind.UNPLUGGED: "the interface of the node's network namespace is down; else what it sends is lost",
    Kind.DATABASE_KILLED: "PostgreSQL is killed (SIGKILL), and started again",
    Kind.DATABASE_RESTARTED: "PostgreSQL is ended in order, and started again",
}


@dataclass(frozen=True)
class Means:
    """Parts of a fleet that a plan may count on.

    Parameters
    ----------
    learning
        Whether it has a SuperLink and SuperNodes.
    database
        Whether its database is PostgreSQL.
    """

    nodes: int = 3
    learning: bool = False
    database: bool = False


@dataclass(frozen=True)
class Step:
    """Something that is done, or that fails.

    Parameters
    ----------
    after_s
        Since the step before.
    who
        Process that it concerns: "coordinator", "superlink" and its "superexec", "node-1", "supernode-1"; "" for none.
    """

    after_s: float
    kind: Kind
    who: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_fault(self) -> bool:
        """Whether something fails."""
        return self.kind not in OPERATIONS

    def __str__(self) -> str:
        return f"{self.kind} {self.who}".rstrip() + "".join(f" {name}={value}" for name, value in self.values.items())


@dataclass(frozen=True)
class Plan:
    """Steps of one run."""

    seed: int
    steps: Sequence[Step]

    @property
    def faults(self) -> list[Step]:
        """Steps that are faults."""
        return [step for step in self.steps if step.is_fault]


def planned(seed: int, means: Means, *, brief: bool = False) -> Plan:
    """Draw the plan of a seed: six operations and four to eight faults; four short ones if it is to be brief."""
    random = Random(keyed_seed(seed, "faults.real"))
    operations = [Kind.ENROL, Kind.ENROL, Kind.ENROL, Kind.FORGET, Kind.FORGET]
    more = [Kind.ENROL, Kind.FORGET, Kind.UPGRADE, *([Kind.LEARN] * 3 if means.learning else [])]
    operations.append(random.choice(more))
    faults = [kind for kind in Kind if kind not in OPERATIONS]
    if not means.database:
        faults = [kind for kind in faults if kind not in (Kind.DATABASE_KILLED, Kind.DATABASE_RESTARTED)]
    # Processes that end or stand still are what a simulation sees least of.
    weights = [3 if kind in (Kind.KILL, Kind.STOP) else 1 for kind in faults]
    first, *rest = operations
    rest += random.choices(faults, weights, k=4 if brief else random.randint(4, 8))
    random.shuffle(rest)
    pause_s = 0.4 if brief else 1.2
    steps = [_drawn(random, kind, means, brief, pause_s) for kind in (first, *rest)]
    return Plan(seed, tuple(steps))


def _drawn(random: Random, kind: Kind, means: Means, brief: bool, pause_s: float) -> Step:
    node = f"node-{random.randint(1, means.nodes)}"
    lasts_s = random.uniform(0.3, 1.2 if brief else 2.5)
    if not brief and random.randrange(OUTLASTS) == 0:
        lasts_s = random.uniform(1.2, 1.7) * LEASE_S
    who, values = node, {"lasts_s": round(lasts_s, 2)}
    match kind:
        case Kind.ENROL:
            who, values = "", {"nodes": sorted(random.sample(range(means.nodes), random.randint(1, 2)))}
        case Kind.FORGET:
            who, values = "", {"which": random.randrange(60)}
        case Kind.LEARN:
            who, values = "", {}
        case Kind.UPGRADE | Kind.KILL | Kind.STOP:
            who = random.choice(["coordinator", node])
            if kind is not Kind.UPGRADE and means.learning:
                who = random.choice([who, who, who, "superlink", "superexec", f"super{node}"])
            values = values if kind is Kind.STOP else {}
        case Kind.DISK_FULL:
            # The last node has a small disk, and so has the coordinator.
            who = random.choice(["coordinator", f"node-{means.nodes}"])
        case Kind.HALF_OPEN:
            values["lost"] = random.choice(["up", "down"])
        case Kind.SLOW_LINK:
            values["delay_s"] = round(random.uniform(0.05, 0.8), 2)
        case Kind.RESET_LINK:
            values = {}
        case Kind.PACKETS_LOST:
            # The first node is in a network namespace.
            who = "node-1"
            values["percent"] = random.choice([10, 30, 60])
        case Kind.UNPLUGGED:
            who = "node-1"
        case Kind.DATABASE_KILLED | Kind.DATABASE_RESTARTED:
            who, values = "", {"down_s": round(random.uniform(0.0, 1.5), 2)}
    return Step(round(random.uniform(0.0, pause_s), 2), kind, who, values)
