"""Performance of actions: each kind, done to the fleet of a history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from fleet.sim.faults.disks import Disk, Side
from fleet.sim.faults.fleet import LINK, FaultyFleet
from fleet.sim.faults.history import Action
from fleet.sim.faults.kinds import Kind
from fleet.sim.faults.lies import MESSAGES, poison
from fleet.sim.faults.nodes import FaultyMember
from fleet.sim.faults.observing import protocol_states
from fleet.sim.lies import LIES
from fleet.sim.scenario import Link
from hwmodel import keyed_seed

#: People who are never enrolled are numbered from here on.
_STRANGER = 1_000_000
_TEN_YEARS_MS = round(10 * 365.25 * 86_400_000)


def prepare(fleet: FaultyFleet, action: Action) -> None:
    """Make the backup, in time, that an action goes back to."""
    if action.kind is Kind.NODE_BACKUP:
        when_s = max(0.0, action.at_s - action.values["age_s"])
        fleet.scheduler.at(when_s, partial(_back_up_node, fleet, action))
    if action.kind is Kind.COORDINATOR_BACKUP:
        when_s = max(0.0, action.at_s - action.values["age_s"])
        fleet.scheduler.at(when_s, partial(_back_up, fleet, action.at_s))


def _back_up_node(fleet: FaultyFleet, action: Action) -> None:
    assert action.node is not None
    if action.node in fleet.members:
        fleet.node_backups[action.node, action.at_s] = fleet.members[action.node].node.backup()


def _back_up(fleet: FaultyFleet, at_s: float) -> None:
    fleet.backups[at_s] = fleet.plane.content()


def perform(fleet: FaultyFleet, action: Action) -> None:
    """Do what an action says; if there is nobody to do it to, nothing."""
    member = None if action.node is None else fleet.members.get(action.node)
    if action.node is not None and action.kind is not Kind.JOIN and (member is None or member.retired):
        return
    name = "" if member is None else member.node_id
    states = protocol_states(fleet.plane, name) if action.is_fault else frozenset()
    fleet.record.note("action", name, what=str(action), action=action.kind.value, states=states)
    _DOES[action.kind](fleet, member, action.values)


def _enrol(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.enrol(values["person"], values["nodes"])


def _forget(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.forget(values["person"], f"forget-{values['person']}-{values.get('again', 0)}")


def _join(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.join(max(fleet.members) + 1)


def _retire(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    if member is not None and len(fleet.present) > 2:
        fleet.retire(member, "its time is over")


def _upgrade(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    if member is None:
        fleet.plane.end(values["down_s"])
    elif member.runs:
        try:
            member.node.node.save_counters()
        except Exception as error:  # noqa: BLE001  # It ends in any case.
            fleet.record.note("node-error", member.node_id, error=str(error))
        member.crash(down_s=values["down_s"])


def _learn(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.jobs.start(values["rounds"], values.get("shards", 0))


def _node_crash(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    member.crash(down_s=values["down_s"])


def _coordinator_crash(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.plane.end(values["down_s"])


def _disk(fleet: FaultyFleet, member: FaultyMember | None) -> Disk:
    return fleet.plane.disk if member is None else member.node.disk


def _at_step(side: Side | None, fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    _disk(fleet, member).arm(values["steps"], side or Side(values["side"]))


def _disk_full(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    disk = _disk(fleet, member)
    disk.full = True
    fleet.scheduler.after(values["lasts_s"], partial(setattr, disk, "full", False))


def _fsync_fails(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    _disk(fleet, member).failing = values["times"]


def _node_backup(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    found = [backup for (number, at_s), backup in fleet.node_backups.items() if number == member.number]
    if found and member.runs:
        member.lose_knowledge()
        member.crash(found[-1], values["down_s"])


def _coordinator_backup(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    if fleet.backups and fleet.plane.runs:
        fleet.restored(fleet.backups[max(fleet.backups)], values["down_s"])


def _clock_jump(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    clock = fleet.plane.clock if member is None else member.clock
    clock.wrong_ms += round(values["years"] / 10 * _TEN_YEARS_MS)


def _partition(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    for number in values["nodes"]:
        if number in fleet.members:
            fleet.members[number].lose_contact(values["lasts_s"])


def _link(
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    fleet: FaultyFleet,
    member: FaultyMember | None,
    values: Mapping[str, Any],
) -> None:
    assert member is not None
    member.use(Link.model_validate({**member.link.model_dump(), **change(values)}))
    fleet.scheduler.after(values["lasts_s"], partial(member.use, LINK))


def _replay(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    random = Random(keyed_seed(values["draw"], "faults.replay"))
    for _ in range(values["messages"]):
        if values["to"] == "node" and member.heard:
            member.replay(random.choice(member.heard))
        elif values["to"] == "coordinator" and member.said:
            fleet.arrive_again(member, random.choice(member.said))


def _stop(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    if not member.stopped:
        member.stop(values["lasts_s"])


def _poison(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    if not member.connected or not fleet.plane.runs:
        return
    what, tag = values["what"], fleet.people.tag(values["person"])
    if what == "forgotten":
        if not fleet.forgotten:
            return
        tag = list(fleet.forgotten)[-1]
    elif what == "out of range":
        tag = fleet.people.tag(_STRANGER + values["person"])
    if tag in member.node.node.context.journal.enrolled():
        return
    sequence = 1000 + len(fleet.poison)
    member.liar = True
    fleet.poison.add((member.node_id, tag, sequence))
    fleet.record.note("poisoned", member.node_id, tag=tag, sequence=sequence, what=what)
    other = fleet.people.tag(_STRANGER - 1)
    member.say_as_is(poison(member, what, tag, other, fleet.plane.registry_key, sequence))


def _lie(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    assert member is not None
    member.liar = True
    if values["claim"] in LIES:
        member.node.lie = values["claim"]
    elif member.connected:
        member.say_as_is(MESSAGES[values["claim"]](member))


def _learning_dies(fleet: FaultyFleet, member: FaultyMember | None, values: Mapping[str, Any]) -> None:
    fleet.jobs.dies_after = values["rounds"]


_Does = Callable[[FaultyFleet, "FaultyMember | None", Mapping[str, Any]], None]

_DOES: Mapping[Kind, _Does] = {
    Kind.ENROL: _enrol,
    Kind.FORGET: _forget,
    Kind.JOIN: _join,
    Kind.RETIRE: _retire,
    Kind.UPGRADE: _upgrade,
    Kind.LEARN: _learn,
    Kind.NODE_CRASH: _node_crash,
    Kind.NODE_CRASH_AT_STEP: partial(_at_step, None),
    Kind.COORDINATOR_CRASH: _coordinator_crash,
    Kind.COORDINATOR_CRASH_AT_STEP: partial(_at_step, None),
    Kind.TORN_WRITE: partial(_at_step, Side.TORN),
    Kind.LOST_WRITE: partial(_at_step, Side.LOST),
    Kind.REORDERED_WRITE: partial(_at_step, Side.REORDERED),
    Kind.DISK_FULL: _disk_full,
    Kind.FSYNC_FAILS: _fsync_fails,
    Kind.NODE_BACKUP: _node_backup,
    Kind.COORDINATOR_BACKUP: _coordinator_backup,
    Kind.CLOCK_JUMP: _clock_jump,
    Kind.PARTITION: _partition,
    Kind.LOST_MESSAGES: partial(_link, lambda values: {"loss": values["share"]}),
    Kind.REPEATED_MESSAGES: partial(_link, lambda values: {"duplicate": values["share"]}),
    Kind.REORDERED_MESSAGES: partial(_link, lambda values: {"reorder": values["share"], "latency": (0.1, 4.0)}),
    Kind.REPLAY: _replay,
    Kind.SLOW_NODE: partial(_link, lambda values: {"latency": (values["latency_s"] / 2, values["latency_s"])}),
    Kind.STOPPED_NODE: _stop,
    Kind.POISON: _poison,
    Kind.LIES: _lie,
    Kind.LEARNING_DIES: _learning_dies,
}
