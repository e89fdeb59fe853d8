"""Drawing of histories: operations in random order, and faults that mostly fall right into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from fleet.sim.faults.history import Action, History
from fleet.sim.faults.kinds import FAULTS, Kind
from fleet.sim.faults.lies import CLAIMS, POISON
from hwmodel import keyed_seed

#: Nodes, people at the start, and episodes of a history.
NODES, PEOPLE, EPISODES = (3, 4), (2, 5), (3, 7)
#: Episodes begin within this time, after everybody has been enrolled.
_FIRST_S, _LAST_S = 40.0, 420.0
#: Share of the faults that fall into an operation, and how close to it they are (s, before and after).
_CLOSE, _AROUND_S = 0.7, (-1.5, 6.0)
#: Share of the histories in which something is learnt, and of how many cohort shards; 0 is a shared LoRA.
_LEARNS, _SHARDS = 0.3, (1, 2, 2, 0)
#: How likely a forget is followed by the next one at once, and most of them in a row.
_NEXT, _IN_A_ROW = 0.4, 4
#: How likely whoever poisons does so again at once.
_MORE_POISON = 0.6
#: How likely an episode is of each operation.
_OPERATIONS: Mapping[Kind, float] = {
    Kind.FORGET: 0.55,
    Kind.ENROL: 0.25,
    Kind.JOIN: 0.06,
    Kind.RETIRE: 0.04,
    Kind.UPGRADE: 0.10,
}
#: Faults that are met less, or more, often than the others.
_WEIGHTS: Mapping[Kind, float] = {Kind.COORDINATOR_BACKUP: 0.6, Kind.CLOCK_JUMP: 0.6}


_SIDES = ("before", "after")


class _Draw:
    """Draws of one history."""

    def __init__(self, seed: int) -> None:
        self._random = Random(keyed_seed(seed, "faults.history"))
        self._nodes, self._people = self._random.randint(*NODES), self._random.randint(*PEOPLE)
        self._seed, self._actions = seed, list[Action]()
        self._learns, self._shards = self._random.random() < _LEARNS, self._random.choice(_SHARDS)

    def history(self) -> History:
        """Return the history."""
        random = self._random
        for person in range(self._people):
            self._add(4.0 + 3 * random.random(), Kind.ENROL, person=person, nodes=self._places())
        if self._learns:
            self._learn(35.0)
        for _ in range(random.randint(*EPISODES)):
            self._episode(random.uniform(_FIRST_S, _LAST_S))
        actions = sorted(self._actions, key=lambda action: action.at_s)
        return History(self._seed, self._nodes, tuple(actions))

    def _add(self, at_s: float, kind: Kind, node: int | None = None, **values: Any) -> None:
        self._actions.append(Action(round(max(0.0, at_s), 2), kind, node, values))

    def _learn(self, at_s: float) -> None:
        self._add(at_s, Kind.LEARN, rounds=self._random.randint(1, 3), shards=self._shards)

    def _node(self) -> int:
        return self._random.randrange(self._nodes)

    def _places(self) -> list[int]:
        return sorted(self._random.sample(range(self._nodes), self._random.randint(1, 2)))

    def _episode(self, at_s: float) -> None:
        random = self._random
        kinds = list(_OPERATIONS)
        (kind,) = random.choices(kinds, [_OPERATIONS[each] for each in kinds])
        match kind:
            case Kind.FORGET:
                person, then_s = random.randrange(self._people), at_s
                self._add(then_s, kind, person=person)
                for _ in range(_IN_A_ROW - 1):
                    if random.random() > _NEXT:
                        break
                    # Before the one before has gone far.
                    then_s += 3 * random.random()
                    self._add(then_s, kind, person=random.randrange(self._people))
                if random.random() < 0.15:
                    self._add(at_s + 8 * random.random(), kind, person=person, again=1)
                if random.random() < 0.15:
                    # By somebody who does not know of it.
                    self._add(at_s + 60 * random.random(), Kind.ENROL, person=person, nodes=self._places())
            case Kind.ENROL:
                self._people += 1
                self._add(at_s, kind, person=self._people - 1, nodes=self._places())
                if random.random() < 0.3:
                    self._add(at_s + 5 * random.random(), Kind.FORGET, person=self._people - 1)
            case Kind.RETIRE:
                self._add(at_s, kind, self._node())
            case Kind.UPGRADE:
                self._add(at_s, kind, self._or_coordinator(), down_s=random.choice((5.0, 30.0)))
            case _:
                self._add(at_s, kind)
        if self._learns and random.random() < 0.3:
            self._learn(at_s - 3 + 6 * random.random())
        for _ in range(random.randint(1, 3)):
            close = random.random() < _CLOSE
            self._fault(at_s + (random.uniform(*_AROUND_S) if close else random.uniform(-60, 120)))

    def _or_coordinator(self) -> int | None:
        return self._node() if self._random.random() < 0.5 else None

    def _fault(self, at_s: float) -> None:
        kinds = [kind for kind in FAULTS if self._learns or kind is not Kind.LEARNING_DIES]
        (kind,) = self._random.choices(kinds, [_WEIGHTS.get(each, 1.0) for each in kinds])
        node, values = _PARAMETERS[kind](self)
        self._add(at_s, kind, node, **values)
        while kind is Kind.POISON and self._random.random() < _MORE_POISON:
            at_s += self._random.random()
            self._add(at_s, kind, node, **_PARAMETERS[kind](self)[1])

    # Parameters of each kind

    def steps(self) -> dict[str, Any]:
        return {"steps": self._random.choice((1, 1, 2, 2, 3, 4, 6, 9, 14))}

    def down(self) -> dict[str, Any]:
        return {"down_s": round(self._random.choice((2.0, 10.0, 40.0, 120.0)), 1)}

    def lasts(self) -> dict[str, Any]:
        return {"lasts_s": round(self._random.choice((5.0, 30.0, 80.0, 130.0, 400.0)), 1)}

    def share(self) -> dict[str, Any]:
        return {"share": self._random.choice((0.1, 0.3, 0.6)), **self.lasts()}


_Drawn = tuple["int | None", dict[str, Any]]

_PARAMETERS: Mapping[Kind, Callable[[_Draw], _Drawn]] = {
    Kind.NODE_CRASH: lambda draw: (draw._node(), draw.down()),
    Kind.NODE_CRASH_AT_STEP: lambda draw: (draw._node(), {**draw.steps(), "side": draw._random.choice(_SIDES)}),
    Kind.COORDINATOR_CRASH: lambda draw: (None, draw.down()),
    Kind.COORDINATOR_CRASH_AT_STEP: lambda draw: (None, {**draw.steps(), "side": draw._random.choice(_SIDES)}),
    Kind.TORN_WRITE: lambda draw: (draw._or_coordinator(), draw.steps()),
    Kind.LOST_WRITE: lambda draw: (draw._or_coordinator(), draw.steps()),
    Kind.REORDERED_WRITE: lambda draw: (draw._or_coordinator(), draw.steps()),
    Kind.DISK_FULL: lambda draw: (draw._or_coordinator(), draw.lasts()),
    Kind.FSYNC_FAILS: lambda draw: (draw._or_coordinator(), {"times": draw._random.randint(1, 4)}),
    Kind.NODE_BACKUP: lambda draw: (draw._node(), {**draw.down(), "age_s": draw._random.choice((5.0, 60.0, 200.0))}),
    Kind.COORDINATOR_BACKUP: lambda draw: (None, {**draw.down(), "age_s": draw._random.choice((5.0, 60.0, 200.0))}),
    Kind.CLOCK_JUMP: lambda draw: (
        draw._or_coordinator(),
        {"years": draw._random.choice((-10, 10, 10, 0.001, -0.001))},
    ),
    Kind.PARTITION: lambda draw: (
        None,
        {
            "nodes": sorted(draw._random.sample(range(draw._nodes), draw._random.randint(1, draw._nodes))),
            **draw.lasts(),
        },
    ),
    Kind.LOST_MESSAGES: lambda draw: (draw._node(), draw.share()),
    Kind.REPEATED_MESSAGES: lambda draw: (draw._node(), draw.share()),
    Kind.REORDERED_MESSAGES: lambda draw: (draw._node(), draw.share()),
    Kind.REPLAY: lambda draw: (
        draw._node(),
        {
            "to": draw._random.choice(("node", "coordinator")),
            "messages": draw._random.choice((1, 5, 20)),
            "draw": draw._random.randrange(2**31),
        },
    ),
    Kind.SLOW_NODE: lambda draw: (draw._node(), {"latency_s": draw._random.choice((3.0, 20.0, 60.0)), **draw.lasts()}),
    Kind.STOPPED_NODE: lambda draw: (draw._node(), draw.lasts()),
    Kind.POISON: lambda draw: (
        draw._node(),
        {"what": draw._random.choice(POISON), "person": draw._random.randrange(draw._people + 2)},
    ),
    Kind.LIES: lambda draw: (draw._node(), {"claim": draw._random.choice(CLAIMS)}),
    Kind.LEARNING_DIES: lambda draw: (None, {"rounds": draw._random.randint(1, 3)}),
}


def drawn(seed: int) -> History:
    """Return the history of a seed."""
    return _Draw(seed).history()
