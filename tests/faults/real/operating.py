"""Operators and owners of a fleet that is hurt: they repeat what they asked for until it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import Sample
from reram_fleet.v1.operator_pb2 import Forget

from fleet.domain.campaign import CampaignState
from fleet.domain.learning import JobState
from fleet.errors import FleetError
from fleet.lab.demo.people import DemoPerson, load_demo_people
from fleet.sim.faults.record import Record, shown
from tests.faults.real.fleet import HurtFleet
from tests.faults.real.plans import Kind, Step

#: Samples of a person that one node captures; and of those forgotten last, so many are asked for at each look.
SAMPLES, ASKED = 3, 4
#: Of an error, so much is noted.
_SHOWN = 90
_ENDED = (JobState.SUCCEEDED, JobState.FAILED)


@dataclass
class Operator:
    """Whoever enrols, forgets and trains, and what is known to have been done.

    Parameters
    ----------
    hold_still
        Whether a process stands still now: an application on a device does not call it then.
    """

    fleet: HurtFleet
    record: Record
    hold_still: Callable[[str], bool]
    #: People who are enrolled, or are being, by tag; who was forgotten, in order.
    enrolled: dict[str, DemoPerson] = field(default_factory=dict)
    forgotten: dict[str, DemoPerson] = field(default_factory=dict)
    #: Campaigns of forgets that were acknowledged since the last end.
    campaigns: list[str] = field(default_factory=list)
    #: What is not acknowledged yet, by what it is.
    _asked: dict[str, Callable[[], bool]] = field(default_factory=dict)
    #: Why each of it was not answered the last time.
    _answers: dict[str, str] = field(default_factory=dict)
    #: Called with a forget that was acknowledged; returns all tags that it names.
    tags_of: Callable[[int], Sequence[str]] = lambda generation: ()

    def __post_init__(self) -> None:
        people = load_demo_people()
        self._people = (*people.enrolled, *people.strangers)
        self._client = self.fleet.impatient_client()
        self._learnt = False

    def close(self) -> None:
        """Close the connection to the coordinator."""
        self._client.__exit__()

    def do(self, step: Step) -> str:
        """Ask for what a step says; returns why it does nothing, if so."""
        match step.kind:
            case Kind.ENROL:
                return self._enrol(step.values["nodes"])
            case Kind.FORGET:
                return self._forget(step.values["which"])
            case Kind.LEARN:
                self._asked["learn"] = partial(self._learn_once, new_tag())
        return ""

    def _enrol(self, nodes: Sequence[int]) -> str:
        there = {person.name for person in self.enrolled.values()}
        person = next((each for each in self._people if each.name not in there), None)
        if person is None:
            return "everybody is enrolled"
        tag = self.fleet.registry.enrol(person.name)
        self.enrolled[tag] = person
        ticket = self.fleet.ticket(tag)
        for part, index in enumerate(nodes):
            samples = person.train[part : part + SAMPLES * len(nodes) : len(nodes)]
            self._asked[f"enrol {shown(tag)} node-{index + 1}"] = partial(self._enrol_once, tag, ticket, samples, index)
        return f"{person.name} as {shown(tag)}"

    def _enrol_once(self, tag: str, ticket: types.Envelope, samples: Sequence[Sample], index: int) -> bool:
        node = self.fleet.nodes[index]
        if tag in self.forgotten:
            return True
        if self.hold_still(node.node_id):
            return False
        with node.engine() as engine:
            engine.enroll(ticket, samples)
        self.record.note("enrolled", node.node_id, tag=tag)
        return True

    def _forget(self, which: int) -> str:
        if not self.enrolled:
            return "nobody is enrolled"
        tag = list(self.enrolled)[which % len(self.enrolled)]
        # Whoever is to be forgotten is enrolled nowhere any more, acknowledged or not.
        for name in [name for name in self._asked if name.startswith(f"enrol {shown(tag)}")]:
            del self._asked[name]
        person = self.enrolled.pop(tag)
        self._asked[f"forget {shown(tag)}"] = partial(self._forget_once, tag, person, new_tag())
        return f"{person.name} as {shown(tag)}"

    def _forget_once(self, tag: str, person: DemoPerson, request_id: str) -> bool:
        forget = self._client.create_forget(request_id, [tag], allow_unknown=True).forget
        self.forgotten[tag] = person
        self.campaigns.append(forget.campaign_id)
        generation = forget.generation
        tags = tuple(self.tags_of(generation)) or (tag,)
        self.record.note("forgotten", "", generation=generation, tag=tag, tags=tags)
        return True

    def _learn_once(self, request_id: str) -> bool:
        job = self._client.start_learning(request_id, types.LEARNING_KIND_TRAIN_LORA, 1).job
        self._learnt = True
        self.record.note("learning", "", job=job.job_id)
        return True

    def ask_again(self) -> None:
        """Ask once more for all that is not acknowledged."""
        for name, ask in list(self._asked.items()):
            try:
                done = ask()
            except FleetError as error:
                self._note_unanswered(name, str(error).partition("\n")[0][:_SHOWN])
            else:
                if done:
                    self._asked.pop(name, None)

    def _note_unanswered(self, name: str, error: str) -> None:
        if self._answers.get(name) != error:
            self._answers[name] = error
            self.record.note("not-answered", "", what=name, error=error)

    def samples_of_forgotten(self) -> list[Sample]:
        """Return a sample of each of those who were forgotten last, to ask nodes with."""
        return [person.test[0] for person in list(self.forgotten.values())[-ASKED:]]

    def missing(self) -> list[str]:
        """Return what is not yet as it should be."""
        missing = [f"not acknowledged: {name}" for name in self._asked]
        try:
            return missing + self._missing()
        except FleetError as error:
            return [*missing, f"{type(error).__name__}: {error}"]

    def _missing(self) -> list[str]:
        found, desired = [], self._client.get_fleet()
        for node in self.fleet.nodes:
            with node.engine() as engine:
                status = engine.status()
            if not status.connected or status.serve_state != types.SERVE_STATE_SERVING:
                found.append(f"{node.node_id} does not serve")
            elif status.revision != desired.revision:
                found.append(f"{node.node_id} runs revision {status.revision}, not {desired.revision}")
            found += [f"{node.node_id} lacks {shown(tag)}" for tag in self.enrolled.keys() - {*status.subject_tags}]
        if desired.forgets_open:
            found += [
                _open(each) for each in self._client.list_forgets().items if each.state != CampaignState.CONVERGED
            ]
        found += [
            f"learning job {job.job_id} is {job.state}"
            for job in self._client.list_learning()
            if job.state not in _ENDED
        ]
        return found

    def held(self) -> list[str]:
        """Return which nodes are held, and why: nobody here has done wrong, and it will not end by itself."""
        try:
            nodes = self._client.list_nodes().items
        except FleetError:
            return []
        return [f"{node.node_id} is held: {node.held_reason}" for node in nodes if node.held_reason]

    def unlearn(self) -> bool:
        """Drop what was learnt, once all is well: whoever is forgotten later waits for no repair. Whether it was."""
        if not self._learnt:
            return False
        self._client.drop_lora()
        self._learnt = False
        return True


def _open(forget: Forget) -> str:
    counts = ", ".join(f"{count.state} on {count.nodes}" for count in forget.counts)
    return f"generation {forget.generation} is {forget.state}: {counts}"
