"""Run of the demo from start to end, whatever its task."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from edge_node.tasks import GenerationTask, SharedPreparation
from fleet.cli.waiting import wait_for_forget
from fleet.config import LOCAL_LEASE_S
from fleet.documents import Document
from fleet.domain.learning import LoraKind
from fleet.errors import FleetError, InvalidInputError
from fleet.lab.demo import learning, observation, outage
from fleet.lab.demo.claims import Claim, check
from fleet.lab.demo.enrolment import ask_nodes, enrol, statuses, wait_active_everywhere
from fleet.lab.demo.evidence import Evidence, Learnt, M, Outage
from fleet.lab.demo.people import load_demo_people, load_task
from fleet.lab.demo.recognition import Recognition
from fleet.lab.demo.report import closing_tables, report
from fleet.lab.demo.task import DemoTask, Moment, Subjects
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.trust.audit import verify_certificate


@dataclass(frozen=True)
class DemoSettings:
    """Settings of a run."""

    #: Node daemons; at least 2, since one of them is killed.
    nodes: int = 4
    #: Federated rounds of the LoRA, and who shares it.
    rounds: int = 3
    lora: LoraKind = LoraKind.COHORT
    #: For everything together.
    timeout_s: float = 600.0
    #: Leave the folder (databases, keys, logs) behind.
    keep: bool = False
    #: What the nodes recognise or generate, and on which chip technology.
    task: str = "speakers"
    preset: str = "180nm-1t1r"

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise InvalidInputError("the demo kills one node: it needs at least 2")


class ProgressReporter:
    """Reports each step, and keeps how long it took."""

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


@dataclass(frozen=True)
class DemoResult:
    """Result of a run: its claims, each with what was seen, and the report."""

    task: DemoTask[Any]
    claims: list[Claim]
    document: Document

    def tables(self) -> Iterable[RenderableType]:
        """Return the closing tables."""
        return closing_tables(self.document, self.task)


def run(settings: DemoSettings, reporter: ProgressReporter) -> DemoResult:
    """Run the demo of a task; all that it starts is gone when this returns or raises."""
    # First: a task without its data must not cost the start of a fleet.
    task = _load_task(settings.task, settings.lora, reporter)
    with _demo_fleet(settings, reporter, task.learns) as fleet:
        evidence = _run(fleet, task, settings, reporter)
    if task.learns:
        with reporter.step("chips", "Simulating the same people on worn and on small chips"):
            evidence = replace(evidence, chips=task.on_other_chips(reporter.detail))
    claims = check(evidence, task.claims)
    return DemoResult(task, claims, report(evidence, claims, task))


def _load_task(name: str, lora: LoraKind, reporter: ProgressReporter) -> DemoTask[Any]:
    """Return what the demo makes of an installed task, by what its nodes can do."""
    found, people = load_task(name), load_demo_people(name)
    task: DemoTask[Any]
    if isinstance(found, GenerationTask):
        # Imported here: it brings torch, which no other demo needs in this process.
        from fleet.lab.demo.generation import Generation

        task = Generation(people, found)
    else:
        task = Recognition(people, lora, name)

    def tenths(done: int, steps: int) -> None:
        if done * 10 // steps != (done - 1) * 10 // steps:
            reporter.detail(f"{done} of {steps} steps")

    if isinstance(found, SharedPreparation):
        with reporter.step("backbone", "Preparing what all nodes share, unless that was done before"):
            found.prepare(tenths)
    return task


@contextmanager
def _demo_fleet(settings: DemoSettings, reporter: ProgressReporter, learning: bool) -> Iterator[LocalFleet]:
    """Give a fleet, not yet started, in a folder of its own; both are gone afterwards."""
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
            stack.callback(reporter.detail, f"kept: {folder}; `fleet up --state {folder} --nodes {settings.nodes}`")
        else:
            stack.callback(shutil.rmtree, folder)
        fleet = stack.enter_context(LocalFleet(local, reporter.detail))
        try:
            yield fleet
        except FleetError:
            # The logs are about to go with the folder: what they complain about is told now.
            for line in fleet.layout.complaints():
                reporter.detail(line)
            raise


def _run(fleet: LocalFleet, task: DemoTask[M], settings: DemoSettings, reporter: ProgressReporter) -> Evidence[M]:
    deadline, say = Deadline.of(settings.timeout_s), reporter.detail
    *kept, forgotten = task.people

    def measured(moment: Moment, subjects: Subjects) -> dict[str, M]:
        return ask_nodes(fleet, lambda engine, index: task.measure(engine, index, subjects, moment))

    superlink = ", a SuperLink" if task.learns else ""
    with reporter.step("start", f"Starting a coordinator{superlink} and {settings.nodes} nodes"):
        fleet.start(deadline.left_s)
        if settings.keep:
            for line in fleet.addresses():
                say(line)
        programmed = statuses(fleet)
        metrics_before = observation.generations(fleet)
    with fleet.client() as client:
        with reporter.step("enrol", f"Enrolling {len(kept)} {task.nouns}, each on two nodes"):
            tags, where = enrol(fleet, kept)
            wait_active_everywhere(fleet, frozenset(tags.values()), deadline)
        # Some people resemble somebody who is enrolled: seen before they have ever been themselves.
        with reporter.step("measure_never", f"Measuring every node, before {forgotten.name} is known"):
            never = measured(Moment.NEVER, Subjects(tags))
        with reporter.step("enrol_last", f"Enrolling {forgotten.name} on two nodes"):
            # The last two: one of them is killed, and has to forget when it is back.
            last, last_where = enrol(fleet, [forgotten], first=settings.nodes - 2)
            tag = last[forgotten.name]
            everybody = frozenset([*tags.values(), tag])
            enrolled = wait_active_everywhere(fleet, everybody, deadline)
            say(f"revision {next(iter(enrolled.values())).revision} is active on every node")
        with reporter.step("train", f"Asking for a {settings.lora} LoRA, trained in {settings.rounds} Flower rounds"):
            learnt = learning.train(client, settings.lora, settings.rounds, deadline, say)
            wait_active_everywhere(fleet, everybody, deadline, at_least=learnt.revision)
        with reporter.step("measure_before", f"Measuring every node, with {forgotten.name} enrolled"):
            before = measured(Moment.BEFORE, Subjects(tags, tag))
            status_before = statuses(fleet)
        victim = settings.nodes - 1
        victim_id = fleet.nodes[victim].node_id
        with reporter.step("forget", f"Killing {victim_id}, then forgetting {forgotten.name} everywhere"):
            pid = fleet.kill_node(victim)
            outage.wait_lost(client, victim_id, deadline)
            say(f"{victim_id} (process {pid}) is dead")
            forget, suppressed_by, seconds = outage.forget_while_away(client, [tag], victim_id, deadline)
            fleet.registry.mark_forgotten([tag], forget.campaign_id)
            leaks = ask_nodes(fleet, lambda engine, _: task.leaks(engine, tag), range(victim))
            say(f"suppressed on every connected node in {forget.seconds_to_suppress:.2f} s")
        with reporter.step("catch_up", f"Restarting {victim_id} and asking it from its first moment on"):
            answers = outage.watch_return(
                fleet,
                victim,
                lambda engine, at_s: task.probe(engine, Subjects(tags, tag), at_s),
                forget.generation,
                deadline,
            )
            alone = sum(answer.backbone_only for answer in answers)
            say(f"{alone} answers by the backbone alone, then generation {answers[-1].generation}")
        with reporter.step("verify", "Repairing what was learnt together, erasing, verifying every node"):
            forget = wait_for_forget(client, forget.campaign_id, deadline.left_s, say)
            learning.wait_replayed(client, deadline, say)
            # Once more: its verdict on a cohort LoRA says what the replay came to.
            forget = client.get_forget(forget.campaign_id)
            wait_active_everywhere(fleet, everybody - {tag}, deadline)
            say(f"verified on every node {forget.seconds_to_verify:.1f} s after the command")
        with reporter.step("measure_after", "Measuring every node again"):
            after = measured(Moment.AFTER, Subjects(tags, tag))
            status_after = statuses(fleet)
            metrics_after = observation.generations(fleet)
            certificate = verify_certificate(client.get_certificate(forget.campaign_id), fleet.command_public_key)
            executions = client.list_executions(forget.campaign_id).items
        welcomed: dict[str, M] = {}
        again = Learnt()
        if task.newcomer is not None:
            with reporter.step("welcome", f"Enrolling {task.newcomer.name}, until now a stranger, and training again"):
                newcomer, newcomer_where = enrol(fleet, [task.newcomer])
                tags, where = tags | newcomer, where | newcomer_where
                there = frozenset(tags.values())
                wait_active_everywhere(fleet, there, deadline)
                again = learning.train(client, settings.lora, settings.rounds, deadline, say)
                wait_active_everywhere(fleet, there, deadline, at_least=again.revision)
                welcomed = measured(Moment.WELCOMED, Subjects(tags, tag))
        return Evidence(
            fleet_id=client.get_fleet().fleet_id,
            forgotten_person=forgotten.name,
            forgotten_tag=tag,
            enrolled_on=where | last_where,
            identities=fleet.identities,
            programmed=programmed,
            never=never,
            before=before,
            after=after,
            status_before=status_before,
            status_after=status_after,
            welcomed=welcomed,
            learnt=learnt,
            learnt_again=again,
            jobs=tuple(client.list_learning()),
            flower_runs=observation.flower_runs(fleet) if task.learns else (),
            outage=Outage(
                node_id=victim_id,
                killed_pid=pid,
                suppressed_by=suppressed_by,
                leaked_meanwhile=sum(leaks.values()),
                seconds_observed=seconds,
                probe_answers=answers,
            ),
            forget=forget,
            executions=executions,
            certificate=tuple(certificate),
            metrics_moved={name: (metrics_before[name], now) for name, now in metrics_after.items()},
            step_seconds=reporter.seconds,
        )
