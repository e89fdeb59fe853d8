"""Runs of histories: what their actions say, then a fleet that is well again, then the checker."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fleet.coordinator.unit import UnitOfWork
from fleet.domain.campaign import CampaignState
from fleet.sim.faults.acting import perform, prepare
from fleet.sim.faults.fleet import LINK, FaultyFleet
from fleet.sim.faults.history import History
from fleet.sim.faults.nodes import EXPECTED
from fleet.sim.faults.record import Record
from fleet.sim.faults.rules import REFUSED, Violation, check
from fleet.sim.logs import silent, told_to
from fleet.sim.simulation import collecting_rarely
from fleet.trust.audit import verify_certificate
from fleet.trust.checks import failures
from fleet.trust.merkle import MemoryTree

#: From the last action until everything is well, and how long the fleet has until all is as it should be.
_QUIET_S, HEALS_WITHIN_S, _HEAL_STEP_S = 20.0, 1500.0, 15.0


@dataclass(frozen=True)
class Outcome:
    """Outcome of a history."""

    history: History
    record: Record
    violations: Sequence[Violation]
    #: Events of the scheduler, virtual seconds, and seconds on the wall.
    events: int
    simulated_s: float
    wall_s: float

    @property
    def met(self) -> Mapping[tuple[str, str], int]:
        """How often each kind of fault met each state of the protocol."""
        return Counter(
            (event.data["action"], state) for event in self.record.of("action") for state in event.data["states"]
        )


def run(history: History) -> Outcome:
    """Run a history from its beginning to its end, and check it."""
    begun = time.perf_counter()
    with TemporaryDirectory(prefix="faults-") as folder, silent():
        fleet = FaultyFleet(history.seed, history.nodes, Path(folder))
        with told_to(_Unexpected(fleet.record)), collecting_rarely():
            _play(fleet, history)
        violations = check(fleet.record)
        fleet.plane.close_store()
    scheduler = fleet.scheduler
    wall_s = time.perf_counter() - begun
    return Outcome(history, fleet.record, violations, scheduler.happened, scheduler.now_s, wall_s)


def _play(fleet: FaultyFleet, history: History) -> None:
    for action in history.actions:
        prepare(fleet, action)
        fleet.scheduler.at(action.at_s, partial(perform, fleet, action))
    last_s = max((action.at_s for action in history.actions), default=0.0)
    fleet.scheduler.run_until(last_s + _QUIET_S)
    fleet.record.note("well again")
    _mend(fleet)
    until_s = fleet.scheduler.now_s + HEALS_WITHIN_S
    while (missing := _missing(fleet) or _unaudited(fleet)) and fleet.scheduler.now_s < until_s:
        fleet.scheduler.run_until(fleet.scheduler.now_s + _HEAL_STEP_S)
        _operate(fleet)
    fleet.look()
    fleet.record.note("end", "", open=missing, **_end(fleet))


def _mend(fleet: FaultyFleet) -> None:
    """Let nothing fail any more; whoever lied is taken out, since nobody knows what else it would say."""
    fleet.plane.disk.mend()
    fleet.plane.clock.wrong_ms = 0
    for member in fleet.members.values():
        member.node.disk.mend()
        member.node.lie = ""
        member.clock.wrong_ms = 0
        member.use(LINK)
        if member.unreachable:
            member._in_reach()
        if member.stopped:
            member.go_on()
        if member.liar:
            fleet.retire(member, "it lied")


def _operate(fleet: FaultyFleet) -> None:
    """Do what an operator does: look after whom the coordinator refuses."""
    if not fleet.plane.runs:
        return
    known = fleet.plane.read(lambda unit: {node.node_id: node.held_reason for node in unit.tx.nodes.list()})
    for member in fleet.present:
        if member.node_id not in known:
            # It was enrolled after the backup that the coordinator went back to.
            fleet.decided(partial(_enrol_again, member.node.identity))
        elif known[member.node_id] and member.lives:
            fleet.record.note("released", member.node_id)
            fleet.decided(partial(_release, member.node_id))


def _enrol_again(identity: Any, unit: UnitOfWork) -> None:
    unit.decisions.enroll(identity)


def _release(node_id: str, unit: UnitOfWork) -> None:
    unit.decisions.release(node_id, "it went back to a backup")


def _missing(fleet: FaultyFleet) -> list[str]:
    """Return what is not yet as it should be."""
    missing = [f"{member.node_id} does not serve" for member in fleet.present if not _serves(member)]
    missing += [f"the forget of person {person} is not acknowledged" for person in sorted(fleet.asked)]
    if not fleet.plane.runs:
        return [*missing, "the coordinator does not run"]

    def read(unit: UnitOfWork) -> list[str]:
        found = []
        for campaign in unit.tx.forgets.list_open():
            states = {row.node_id: row.state.value for row in unit.tx.forgets.executions(campaign.campaign_id)}
            found.append(f"generation {campaign.generation} is {campaign.state.value}: {states}")
        jobs = [f"learning job {job.job_id} is {job.state.value}" for job in unit.tx.learning.list_open()]
        content = unit.revisions.latest_content()
        subjects = {subject.subject_tag for subject in content.subjects}
        number = unit.tx.revisions.latest_number()
        for member in fleet.present:
            for row in member.node.node.context.journal.enrolments() if member.runs else ():
                known = unit.tx.subjects.find(row.subject_tag)
                if (known is None or not known.forgotten) and row.subject_tag not in subjects:
                    found.append(f"{row.subject_tag[:6]} of {member.node_id} is in no revision ({row.refusal})")
            active = member.node.node.context.journal.active_revision() if member.runs else None
            if member.runs and (active.revision if active else 0) != number:
                found.append(f"{member.node_id} does not run revision {number}")
        return [*found, *jobs, *(f"{node} is awaited" for node in unit.tx.fleet.awaited())]

    return [*missing, *fleet.plane.read(read)]


def _unaudited(fleet: FaultyFleet) -> list[str]:
    """Have every cohort shard trained again, once all is well; returns what is not done of that."""
    return fleet.jobs.audit() if fleet.plane.runs and fleet.present else []


def _serves(member: Any) -> bool:
    return bool(member.runs and member.connected and member.serving)


def _end(fleet: FaultyFleet) -> dict[str, Any]:
    """Return what is compared at the end with what was acknowledged and seen."""
    if not fleet.plane.runs:
        empty: dict[str, Any] = {
            **{name: {} for name in ("journals", "heads", "certificates", "forgotten", "kept", "audits")},
            **dict.fromkeys(("misnamed", "contributions"), ()),
        }
        return {**empty, "keys": frozenset(), "size": 1 << 62, "roots": lambda size: b""}

    def read(unit: UnitOfWork) -> dict[str, Any]:
        tx, tree = unit.tx, MemoryTree([row.hash for row in unit.tx.tree.leaves()])
        return {
            "heads": {entry.generation: tx.log.head_of(entry.generation) for entry in tx.log.range(0)},
            "forgotten": {tag: each.generation for each in reversed(list(tx.forgets.list())) for tag in each.tags},
            "contributions": {(row.node_id, row.tag) for row in tx.subjects.contributions()},
            "converged": [each.campaign_id for each in tx.forgets.list() if each.state is CampaignState.CONVERGED],
            "audits": {row.history.shard: row.audit for row in tx.cohorts.list() if row.history.entries},
            "size": tree.size(),
            "roots": tree.root,
        }

    found: dict[str, Any] = fleet.plane.read(read)
    there = [member for member in fleet.present if member.runs]
    journals = {}
    for member in there:
        journal = member.node.node.context.journal
        numbers = tuple(row[0] for row in journal._all("SELECT generation FROM forget ORDER BY generation"))
        journals[member.node_id] = numbers, journal.position().log_head
    return {
        **found,
        "journals": journals,
        "kept": {member.node_id: set(member.node.node.context.journal.enrolled()) for member in there},
        "keys": frozenset(fleet.plane.key_ids),
        "misnamed": _misnamed(fleet, found["forgotten"]),
        "certificates": {campaign: _audited(fleet, campaign) for campaign in found.pop("converged")},
    }


def _misnamed(fleet: FaultyFleet, forgotten: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return which nodes do not name somebody who is enrolled, or name somebody else."""
    enrolled = {tag for member in fleet.present for tag in member.node.node.context.journal.enrolled()}
    wrong = []
    for member in fleet.present:
        asked = {tag: fleet.people.asked(tag, 3) for tag in sorted(fleet.people.numbers)}
        for tag, names in (member.names(asked) if _serves(member) else {}).items():
            if names - {tag}:
                wrong.append((member.node_id, f"names {sorted(names - {tag})} in the place of {tag[:6]}"))
            if not names and tag in enrolled and tag not in forgotten:
                wrong.append((member.node_id, f"does not recognise {tag[:6]}"))
    return wrong


def _audited(fleet: FaultyFleet, campaign_id: str) -> list[str]:
    try:
        text = fleet.plane.stepped.certificate(campaign_id)
        return [str(line) for line in failures(verify_certificate(text, fleet.plane.env.keys.command_public_key))]
    except EXPECTED as error:
        return [f"{REFUSED} {error}"]


class _Unexpected(logging.Handler):
    """Notes errors that the logic has logged, and that nobody expects."""

    def __init__(self, record: Record) -> None:
        super().__init__(logging.ERROR)
        self._record = record

    def emit(self, record: logging.LogRecord) -> None:
        """Note one that comes with an exception."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, EXPECTED):
            self._record.note("unexpected", "", error=f"{type(error).__name__}: {error}")
