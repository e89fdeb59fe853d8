"""Simulated fleet: its people, nodes and coordinator, and what is done with them, whenever that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.crypto.tickets import issue_ticket

from edge_node.agent.node import Node
from fleet.errors import FleetError
from fleet.sim.control_plane import ControlPlane
from fleet.sim.jobs import ConnectedNodes, JobPlayer
from fleet.sim.lies import LyingNode
from fleet.sim.links import Stream, Traffic
from fleet.sim.members import Member
from fleet.sim.node_names import flower_id, node_id, number_of
from fleet.sim.people import MadeUpPeople, Person, Roll, Subjects
from fleet.sim.recorder import Recorder
from fleet.sim.scenario import MADE_UP, Learning, Link, Scenario
from fleet.sim.scheduler import Scheduler, VirtualClock
from fleet.store.rows import CampaignRow, LearningJobRow
from hwmodel import keyed_seed

if TYPE_CHECKING:
    from fleet.sim.chip_actors import ChipActors

#: Link while the fleet is set up.
_PERFECT = Link(latency=(0.01, 0.02))
#: Nodes that connect in a second then, and how long it is left alone.
CONNECTS_PER_S, SETTLES_S = 200.0, 30.0
#: Rounds of a cohort's shards, unless the scenario says how many.
ROUNDS_OF_SHARDS = 2
#: A ticket outlasts every scenario.
_NEVER_MS = 2**62


def subjects_of(
    scenario: Scenario,
    seed: int,
    progress: Callable[[str], None],
    chunk: int,
    now_s: Callable[[], float],
    actors: ChipActors | None,
) -> Subjects:
    """Return the people of a scenario's task, and the chips that see them; raises what `TaskPeople` raises."""
    fleet = scenario.fleet
    if fleet.task == MADE_UP:
        return MadeUpPeople(seed, fleet.samples)
    # The data and torch's kernels: not for those who simulate the protocol.
    from fleet.sim.task_people import TaskPeople, recognising

    return TaskPeople(recognising(fleet.task), fleet, scenario.chip, seed, progress, chunk, now_s, actors)


class SimulatedFleet:
    """Fleet of a scenario, set up with everybody enrolled before the scenario's time begins.

    Parameters
    ----------
    subjects
        People, and the chips that see them; those of the scenario's task if left out.

    Attributes
    ----------
    members
        Its nodes, by number; also those that were retired.
    recorder
        Rows of what was seen.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        folder: Path,
        chunk: int,
        progress: Callable[[str], None],
        actors: ChipActors | None = None,
        subjects: Subjects | None = None,
    ) -> None:
        self._scenario, self._seed, self._link, self._traffic = scenario, seed, _PERFECT, Traffic()
        self.scheduler, self.members = Scheduler(), dict[int, Member]()
        # Not a function of its own: a simulation that is saved has this in it.
        now_s = partial(getattr, self.scheduler, "now_s")
        self._subjects = subjects or subjects_of(scenario, seed, progress, chunk, now_s, actors)
        self.roll = Roll(seed, self._subjects.count)
        self.plane = ControlPlane(
            self.scheduler,
            folder,
            keyed_seed(seed, "sim.coordinator"),
            codes=self._subjects.codes,
            task=self._subjects.task,
            lease_s=scenario.time.lease,
            lost_after_s=scenario.time.lost_after,
            opened=self._opened,
            refused=self._refused,
        )
        self.recorder = Recorder(
            self.plane, self.members, self._subjects, self.roll, self._traffic, ages=scenario.chip.ages
        )
        self._jobs = JobPlayer(self.plane, self._up, chunk, self._round_done)
        self._jobs.actors = actors
        self.plane.learning = self.plane.env.learning = ConnectedNodes()
        self.plane.play = self._jobs.play
        self._set_up(progress)

    def use(self, actors: ChipActors | None) -> None:
        """Have actors compute what is for many chips at once, from now on, or nobody else: nothing else changes."""
        self._jobs.actors = actors
        self._subjects.use(actors)

    def _set_up(self, progress: Callable[[str], None]) -> None:
        """Bring up nodes and people over a perfect network."""
        fleet, recorder = self._scenario.fleet, self.recorder
        with recorder.phase("nodes"):
            progress(f"making {fleet.nodes} nodes")
            for number in range(fleet.nodes):
                self._make(number)
            self.plane.register(*(member.node for member in self.members.values()))
        with recorder.phase("enrolment"):
            progress(f"enrolling {fleet.people} people")
            for _ in range(fleet.people):
                self.enrol()
        with recorder.phase("connecting"):
            progress("connecting them")
            self.plane.held_up = True
            for number, member in self.members.items():
                self.scheduler.after(number / CONNECTS_PER_S, member.connect)
            self.run(fleet.nodes / CONNECTS_PER_S + SETTLES_S)
            self.plane.held_up = False
        with recorder.phase("first revision"):
            progress("installing the first revision")
            self.plane.look()
            self.run(SETTLES_S)
        if self._scenario.learning.learns:
            with recorder.phase("learning"):
                progress("learning")
                self.learn()
                self.run(SETTLES_S)
        for member in self.members.values():
            member.use(self._scenario.link)
        self._link, recorder.begun_s = self._scenario.link, self.scheduler.now_s

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.run_until(self.scheduler.now_s + seconds)

    def _make(self, number: int) -> Member:
        name, clock = node_id(number), VirtualClock(self.scheduler)
        make_engine, place = self._subjects.make_engine(number)
        node = LyingNode(
            name,
            clock=clock,
            make_engine=make_engine,
            node_index=place,
            image_generator=self._subjects.image_generator(number),
            randomness=seeded(keyed_seed(self._seed, "sim.node", name)),
            heartbeat_s=self._scenario.time.heartbeat,
            task=self._subjects.task,
            energy_model=self._subjects.energy_model,
            for_head=self._scenario.fleet.head,
            calibrate_every_s=self._scenario.chip.calibrate_every,
        )
        member = self.members[number] = Member(
            number,
            node,
            clock,
            self.scheduler,
            self.plane,
            self._link,
            Random(keyed_seed(self._seed, "sim.link", name)),
            self._traffic,
            happened=self.happened,
            deployed=self.recorder.deployed,
        )
        return member

    # What nodes and coordinator tell

    def _opened(self, stream: Stream) -> None:
        self.of(stream.node_id).opened(stream)

    def _refused(self, stream: Stream, reason: Exception) -> None:
        self.of(stream.node_id).refused(stream, str(reason))

    def happened(self, kind: str, node: str, what: str) -> None:
        """Note what is worth a line."""
        self.recorder.event(self.scheduler.now_s, kind, node, what)

    def of(self, name: str) -> Member:
        """Return a node by its name."""
        return self.members[number_of(name)]

    @property
    def present(self) -> list[Member]:
        """Nodes that were not retired."""
        return [member for member in self.members.values() if not member.retired]

    def _up(self) -> dict[int, Node]:
        """Return the nodes that can take part in a round, by Flower's ids."""
        return {
            flower_id(member.node_id): member.node.node
            for member in self.members.values()
            if member.runs and member.connected
        }

    def _round_done(self, job: LearningJobRow, number: int, metrics: Mapping[str, float], nodes: int) -> None:
        self.recorder.round_done(self.scheduler.now_s, job, number, metrics, nodes)

    # What is done

    def enrol(self, number: int | None = None, tag: str = "") -> Person | None:
        """Enrol the next person, or that one, at the nodes that are up; None if the task has nobody more.

        Without a tag, one is drawn.
        """
        up = [member.number for member in self.present if member.runs]
        tag = tag or new_tag(self.plane.randomness.draw)
        person = self.roll.add(tag, up, self._scenario.fleet.nodes_per_person, number)
        if person is None:
            return None
        members = [self.members[number] for number in person.places]
        ticket = issue_ticket(
            self.plane.registry_key,
            fleet_id=self.plane.env.fleet_id,
            subject_tag=person.tag,
            node_ids=[member.node_id for member in members],
            expires_at_unix_ms=_NEVER_MS,
        )
        for place, member in enumerate(members):
            member.enroll(ticket, self._subjects.samples(person.number, place, len(members)))
        return person

    def forget(self, *people: Person) -> CampaignRow | None:
        """Have people forgotten, or somebody if none is named; None if nobody is left."""
        if not people and (person := self.roll.next_forgotten()) is not None:
            people = (person,)
        if not people:
            return None
        for person in people:
            person.forgotten = True
        campaign = self.plane.forget([person.tag for person in people])
        self.recorder.ordered(campaign.generation, self.scheduler.now_s)
        who = ", ".join(str(person.number) for person in people)
        self.happened("forget", "", f"generation {campaign.generation}, person {who}")
        return campaign

    def learn(self, learning: Learning | None = None) -> None:
        """Have learnt by gradient what the scenario says, or that."""
        learning = learning or self._scenario.learning
        try:
            self._jobs.start(learning.rounds or ROUNDS_OF_SHARDS, learning.shards)
        except FleetError as error:
            # While a forget is being erased, for instance; the next time comes.
            self.happened("not-learnt", "", str(error))
        self.plane.look()

    def join(self) -> None:
        """Add a node."""
        member = self._make(max(self.members) + 1)
        self.plane.register(member.node)
        member.connect()
        self.happened("join", member.node_id, "")

    def retire(self, member: Member, reason: str) -> None:
        """Take a node out for good."""
        with self.plane.stepped.transaction() as unit:
            unit.decisions.retire(member.node_id, reason, discard=False)
        member.retire()
        self.happened("retirement", member.node_id, reason)
