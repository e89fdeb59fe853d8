"""Histories that find planted bugs: for each mutant one that breaks a promise with it, and none without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.sim.faults.history import Action, History
from fleet.sim.faults.kinds import Kind


def enrol(at_s: float, person: int, *nodes: int) -> Action:
    """Return the enrolment of a person on some nodes."""
    return Action(at_s, Kind.ENROL, None, {"person": person, "nodes": list(nodes)})


def forget(at_s: float, person: int) -> Action:
    """Return the forget of a person."""
    return Action(at_s, Kind.FORGET, None, {"person": person})


def fault(at_s: float, kind: Kind, node: int | None = None, /, **values: Any) -> Action:
    """Return a fault of a node, or of the coordinator."""
    return Action(at_s, kind, node, values)


def history(*actions: Action, seed: int = 1) -> History:
    """Return a history of three nodes."""
    return History(seed, 3, tuple(sorted(actions, key=lambda action: action.at_s)))


_LIE = "other adapters are active"
_OVERTAKEN = {"share": 0.6, "lasts_s": 80.0}

#: By name of the mutant.
FINDS: Mapping[str, History] = {
    "skipped fsync": history(
        enrol(4, 0, 0, 1), enrol(30, 1, 0), fault(30.02, Kind.NODE_CRASH_AT_STEP, 0, steps=1, side="after")
    ),
    "acknowledgement before commit": history(enrol(4, 0, 0), fault(30, Kind.FSYNC_FAILS, times=1), enrol(30.01, 0, 1)),
    "lease aged from receipt": history(
        enrol(4, 0, 0),
        fault(30, Kind.SLOW_NODE, 0, latency_s=20.0, lasts_s=400.0),
        fault(120, Kind.PARTITION, nodes=[0], lasts_s=130.0),
        enrol(300, 1, 1),
    ),
    "generation not compared": history(
        enrol(4, 0, 0, 1),
        fault(28, Kind.REORDERED_MESSAGES, 0, share=0.6, lasts_s=400.0),
        *(forget(32 + 7 * person, person) for person in range(12)),
        seed=2,
    ),
    "key destroyed before the record": history(
        enrol(4, 0, 0), fault(29, Kind.NODE_CRASH_AT_STEP, 1, steps=2, side="before"), enrol(30, 1, 0)
    ),
    "receipt unchecked": history(enrol(4, 0, 0), fault(30, Kind.LIES, 1, claim=_LIE), forget(41, 0)),
    "ticket unchecked": history(enrol(4, 0, 0), fault(30, Kind.POISON, 1, what="no ticket", person=0)),
    "ticket of another person taken": history(
        enrol(4, 0, 0), fault(30, Kind.POISON, 1, what="a ticket of another person", person=0)
    ),
    "code range unchecked": history(enrol(4, 0, 0), fault(30, Kind.POISON, 1, what="out of range", person=0)),
    "log gap accepted": history(
        enrol(4, 0, 0),
        fault(30, Kind.REORDERED_MESSAGES, 0, **_OVERTAKEN),
        *(forget(round(41 + 0.4 * person, 1), person) for person in range(4)),
    ),
    "stale revision installed": history(
        enrol(4, 0, 0),
        fault(29, Kind.REORDERED_MESSAGES, 0, **_OVERTAKEN),
        *(enrol(30 + 8 * k, 1 + k, 0) for k in range(3)),
        *(forget(round(31.4 + 8 * k, 1), 1 + k) for k in range(3)),
        seed=2,
    ),
    "wake-up lost": history(enrol(4, 0, 0), forget(41, 0)),
    "head kept with a forgotten column": history(enrol(4, 0, 0), enrol(5, 1, 0), enrol(6, 2, 0), forget(41, 0)),
    "canary reused": history(enrol(4, 0, 0), enrol(4, 1, 0), forget(41, 0), forget(60, 1)),
    "tombstone unchecked by the coordinator": history(
        enrol(4, 0, 0), forget(41, 0), fault(60, Kind.POISON, 1, what="forgotten", person=0)
    ),
    "tombstone unchecked by the node": history(
        enrol(4, 0, 0), forget(41, 0), fault(50, Kind.NODE_CRASH, 0, down_s=2.0), enrol(70, 0, 0)
    ),
    "lease for a held node": history(
        enrol(4, 0, 0), fault(30, Kind.LIES, 1, claim=_LIE), forget(41, 0), forget(160, 1), forget(200, 2)
    ),
    "lease numbers used again": history(enrol(4, 0, 0), fault(30, Kind.COORDINATOR_CRASH, down_s=5.0)),
    "contribution not repeated": history(
        enrol(4, 0, 0), fault(30, Kind.COORDINATOR_CRASH_AT_STEP, steps=1, side="before"), enrol(30.1, 1, 0)
    ),
    "forget before all are heard after a restore": history(
        enrol(4, 0, 0),
        enrol(4, 1, 0),
        forget(41, 0),
        fault(55, Kind.PARTITION, nodes=[0, 1, 2], lasts_s=80.0),
        fault(60, Kind.COORDINATOR_BACKUP, age_s=30.0, down_s=2.0),
        forget(70, 1),
    ),
    "restored node unnoticed": history(
        enrol(4, 0, 0), forget(41, 0), fault(60, Kind.NODE_BACKUP, 0, age_s=30.0, down_s=2.0)
    ),
    "forgotten kept in SRAM": history(enrol(4, 0, 0), forget(41, 0)),
    "key not destroyed": history(enrol(4, 0, 0), forget(41, 0)),
    "keys of the coordinator kept": history(enrol(4, 0, 0), forget(41, 0)),
    "retired node expected to hold": history(enrol(4, 0, 0, 1), Action(40, Kind.RETIRE, 1), forget(60, 0)),
    "what a failed journal had not noted": history(
        enrol(4, 0, 0, 1), fault(59, Kind.DISK_FULL, 0, lasts_s=30.0), forget(60, 0)
    ),
    "revision that overtakes the log refused for good": history(
        enrol(4, 0, 0),
        enrol(5, 1, 1),
        enrol(5, 2, 1),
        fault(28, Kind.REORDERED_MESSAGES, 2, share=0.6, lasts_s=60.0),
        *(forget(30 + 10 * person, person) for person in range(3)),
    ),
    "lost forget not committed anew after a restore": history(
        enrol(4, 0, 2),
        enrol(5, 1, 0, 1),
        forget(60, 1),
        fault(75, Kind.PARTITION, nodes=[0, 1, 2], lasts_s=80.0),
        forget(80, 0),
        fault(85, Kind.COORDINATOR_BACKUP, age_s=200.0, down_s=2.0),
    ),
}
