"""The demo from start to end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.v1.engine_pb2 import GetStatusResponse

from fleet.config import LOCAL_LEASE_S
from fleet.errors import FleetError, InvalidInputError
from fleet.lab.demo import enrolment, learning, observation, outage, quality
from fleet.lab.demo.evidence import Evidence, Outage
from fleet.lab.demo.people import DemoPeople, load_demo_people
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.local.reaped import complaints
from fleet.trust.audit import verify_certificate


@dataclass(frozen=True)
class DemoSettings:
    """How the demo is run.

    Parameters
    ----------
    nodes
        Node daemons; at least 2, since one of them is killed.
    rounds
        Federated rounds of the LoRA.
    timeout_s
        For everything together.
    keep
        Leave the folder (databases, keys, logs) behind.
    task, preset
        What the nodes recognise or draw, and on which chip technology.
    """

    nodes: int = 4
    rounds: int = 3
    timeout_s: float = 600.0
    keep: bool = False
    task: str = "speakers"
    preset: str = "180nm-1t1r"

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise InvalidInputError("the demo kills one node: it needs at least 2")


class ProgressReporter:
    """Tells what happens, and keeps how long each step took."""

    def __init__(self, title: Callable[[str], None], detail: Callable[[str], None]) -> None:
        self.title = title
        self.detail = detail
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Announce a step and time it."""
        self.title(title)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def run_demo(settings: DemoSettings, reporter: ProgressReporter) -> Evidence:
    """Run the demo of a fleet that recognises; all that it starts is gone when this returns or raises."""
    # First: a task without its data must not cost the start of a fleet.
    people = load_demo_people(settings.task)
    with demo_fleet(settings, reporter, learning=True) as fleet:
        return _run(fleet, people, settings, reporter)


@contextmanager
def demo_fleet(settings: DemoSettings, reporter: ProgressReporter, *, learning: bool) -> Iterator[LocalFleet]:
    """Give a fleet, not yet started, in a folder of its own; both are gone afterwards.

    Parameters
    ----------
    learning
        Whether it has a learning plane.
    """
    folder = Path(tempfile.mkdtemp(prefix="reram-fleet-demo-"))
    local = LocalSettings(
        folder,
        settings.nodes,
        lease_s=LOCAL_LEASE_S,
        learning=learning,
        restart_nodes=False,
        task=settings.task,
        preset=settings.preset,
    )
    with contextlib.ExitStack() as stack:
        if settings.keep:
            stack.callback(reporter.detail, f"kept: {folder}")
        else:
            stack.callback(shutil.rmtree, folder)
        fleet = stack.enter_context(LocalFleet(local, reporter.detail))
        try:
            yield fleet
        except FleetError:
            # The logs are about to go with the folder: what they complain about is told now.
            for line in complaints(fleet.layout.logs):
                reporter.detail(line)
            raise


def _run(fleet: LocalFleet, people: DemoPeople, settings: DemoSettings, reporter: ProgressReporter) -> Evidence:
    deadline = Deadline.of(settings.timeout_s)
    say = reporter.detail
    # The last one: with the usual number of nodes, the node that is killed holds half of the samples.
    forgotten = people.enrolled[-1]
    with reporter.step("start", f"Starting a coordinator, a SuperLink and {settings.nodes} nodes"):
        fleet.start(deadline.left_s)
        programmed = enrolment.statuses(fleet)
        metrics_before = observation.generations(fleet)
    client = fleet.client()
    with client:
        with reporter.step("enrol", f"Enrolling {len(people.enrolled)} people, each on two nodes"):
            others = people.enrolled[:-1]
            tags, where = enrolment.enrol(fleet, others)
            enrolment.wait_active_everywhere(fleet, frozenset(tags.values()), deadline)
            # While they have never been enrolled: some people resemble somebody who is.
            never_enrolled = quality.acceptance(fleet, forgotten, deadline)
            last_tag, last_where = enrolment.enrol(fleet, [forgotten], first=len(others))
            tags, where = {**tags, **last_tag}, {**where, **last_where}
            everybody = frozenset(tags.values())
            enrolled = enrolment.wait_active_everywhere(fleet, everybody, deadline)
            say(f"revision {_revision(enrolled)} is active on every node")
        with reporter.step("train", f"Training the shared LoRA: {settings.rounds} Flower rounds"):
            job = learning.train(client, settings.rounds, deadline, say)
            enrolment.wait_active_everywhere(fleet, everybody, deadline, at_least=job.revision)
            say(f"run {job.flower_run_id} became revision {job.revision}, active on every node")
        with reporter.step("measure_before", "Measuring every node"):
            before = quality.measure(fleet, people, tags, forgotten.name)
            status_before = enrolment.statuses(fleet)
        victim = settings.nodes - 1
        victim_id = fleet.nodes[victim].node_id
        forgotten_tags = frozenset(fleet.registry.active_tags(forgotten.name))
        with reporter.step("forget", f"Killing {victim_id}, then forgetting {forgotten.name} everywhere"):
            pid = fleet.kill_node(victim)
            outage.wait_lost(client, victim_id, deadline)
            say(f"{victim_id} (process {pid}) is dead")
            forget, suppressed_by, seconds = outage.forget_while_away(client, forgotten_tags, victim_id, deadline)
            fleet.registry.mark_forgotten(forgotten_tags, forget.campaign_id)
            leaks = outage.count_leaks(fleet, forgotten, forgotten_tags, victim)
            say(f"suppressed on every connected node in {forget.seconds_to_suppress:.2f} s")
        with reporter.step("catch_up", f"Restarting {victim_id} and asking it from its first moment on"):
            question = outage.who_is_heard(people.enrolled, forgotten_tags)
            probe_answers = outage.watch_return(fleet, victim, question, forget.generation, deadline)
            blind = sum(probe_answer.backbone_only for probe_answer in probe_answers)
            say(f"{blind} answers by the backbone alone, then generation {probe_answers[-1].generation}")
        with reporter.step("verify", "Repairing the LoRA by a Flower run, erasing, verifying every node"):
            forget = outage.wait_converged(client, forget.campaign_id, deadline)
            kept = everybody - forgotten_tags
            enrolment.wait_active_everywhere(fleet, kept, deadline)
            say(f"verified on every node {forget.seconds_to_verify:.1f} s after the command")
        with reporter.step("measure_after", "Measuring every node again"):
            after = quality.measure(fleet, people, tags, forgotten.name)
            status_after = enrolment.statuses(fleet)
            metrics_after = observation.generations(fleet)
            flower_runs = observation.flower_runs(fleet)
            certificate = verify_certificate(client.get_certificate(forget.campaign_id), fleet.command_public_key)
        return Evidence(
            fleet_id=client.get_fleet().fleet_id,
            forgotten_person=forgotten.name,
            forgotten_tags=forgotten_tags,
            enrolled_on=where,
            identities=fleet.identities,
            programmed=programmed,
            never_enrolled=never_enrolled,
            before=before,
            status_before=status_before,
            after=after,
            status_after=status_after,
            train_job=job,
            jobs=tuple(client.list_learning()),
            flower_runs=flower_runs,
            outage=Outage(
                node_id=victim_id,
                killed_pid=pid,
                suppressed_by=suppressed_by,
                leaked_meanwhile=leaks,
                seconds_observed=seconds,
                probe_answers=probe_answers,
            ),
            forget=forget,
            certificate=tuple(certificate),
            metrics_moved=observation.moved(metrics_before, metrics_after),
            step_seconds=reporter.seconds,
        )


def _revision(statuses: Mapping[str, GetStatusResponse]) -> int:
    return next(iter(statuses.values())).revision
