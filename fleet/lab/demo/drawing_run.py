"""The demo of a fleet that draws, from start to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reram_fleet.v1 import types_pb2 as types

from fleet.client import FleetClient
from fleet.domain.tags import new_tag
from fleet.errors import ConflictError
from fleet.lab.demo import drawing, enrolment, observation, outage
from fleet.lab.demo.classes import DemoClasses, load_demo_classes, rate_interval, same_rate_p, save_samples
from fleet.lab.demo.evidence import Drawings, DrawnEvidence, Outage
from fleet.lab.demo.run import DemoSettings, ProgressReporter, demo_fleet
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalFleet
from fleet.trust.audit import verify_certificate


@dataclass(frozen=True)
class DrawnDemo:
    """What a demo saw, and the pictures of it."""

    evidence: DrawnEvidence
    album: drawing.Album

    def save_pictures(self, path: Path) -> None:
        """Draw what the first node made of the forgotten class, before and after, into a file."""
        person = self.evidence.forgotten_person
        save_samples(f"Class {person} on one node, enrolled and forgotten", self.album.rows, path)


def run_drawing_demo(settings: DemoSettings, reporter: ProgressReporter) -> DrawnDemo:
    """Run it; all that it starts is gone when this returns or raises."""
    classes = load_demo_classes(settings.task)
    with reporter.step("backbone", "Training the backbone on public classes, once for all nodes"):
        classes.prepare_backbone(_tenths(reporter.detail))
    with demo_fleet(settings, reporter, learning=False) as fleet:
        return _run(fleet, classes, settings, reporter)


def _tenths(say: Callable[[str], None]) -> Callable[[int, int], None]:
    def progress(done: int, steps: int) -> None:
        if done * 10 // steps != (done - 1) * 10 // steps:
            say(f"{done} of {steps} steps")

    return progress


def _run(fleet: LocalFleet, classes: DemoClasses, settings: DemoSettings, reporter: ProgressReporter) -> DrawnDemo:
    deadline, say = Deadline.of(settings.timeout_s), reporter.detail
    *kept, forgotten = classes.private
    album = drawing.Album()
    with reporter.step("start", f"Starting a coordinator and {settings.nodes} nodes"):
        fleet.start(deadline.left_s)
        programmed = enrolment.statuses(fleet)
        metrics_before = observation.generations(fleet)
    tags: dict[str, str] = {}
    where: dict[str, tuple[str, ...]] = {}

    def measured(title: str, tag: str | None) -> dict[str, Drawings]:
        return drawing.draw_everywhere(fleet, classes, tags, forgotten.name, tag, album=album, title=title)

    with fleet.client() as client:
        with reporter.step("enrol", f"Learning {len(kept)} classes, each on two nodes"):
            for index, person in enumerate(kept):
                tags[person.name], where[person.name] = drawing.enrol_class(fleet, person, index)
                say(f"{person.name} learnt on {' and '.join(where[person.name])}")
            enrolment.wait_active_everywhere(fleet, frozenset(tags.values()), deadline)
        with reporter.step("measure_never", f"Drawing on every node, before {forgotten.name} is known"):
            never = measured("never enrolled", None)
        # The last nodes: one of them is killed, and has to forget when it is back.
        first = len(fleet.nodes) - 2
        with reporter.step("enrol_last", f"Learning {forgotten.name} on two nodes"):
            tag, where[forgotten.name] = drawing.enrol_class(fleet, forgotten, first)
            everybody = frozenset([*tags.values(), tag])
            enrolment.wait_active_everywhere(fleet, everybody, deadline)
            job_refusal = _refused_job(client)
        with reporter.step("measure_before", f"Drawing on every node, with {forgotten.name}"):
            before = measured("enrolled", tag)
            status_before = enrolment.statuses(fleet)
        victim = len(fleet.nodes) - 1
        victim_id = fleet.nodes[victim].node_id
        with reporter.step("forget", f"Killing {victim_id}, then forgetting {forgotten.name} everywhere"):
            pid = fleet.kill_node(victim)
            outage.wait_lost(client, victim_id, deadline)
            say(f"{victim_id} (process {pid}) is dead")
            forget, suppressed_by, seconds = outage.forget_while_away(client, [tag], victim_id, deadline)
            fleet.registry.mark_forgotten([tag], forget.campaign_id)
            leaks = drawing.count_drawn(fleet, [tag], victim)
            say(f"suppressed on every connected node in {forget.seconds_to_suppress:.2f} s")
        with reporter.step("catch_up", f"Restarting {victim_id} and asking it from its first moment on"):
            question = drawing.what_is_drawn(list(tags.values()), [tag])
            probe_answers = outage.watch_return(fleet, victim, question, forget.generation, deadline)
            blind = sum(probe_answer.backbone_only for probe_answer in probe_answers)
            say(f"{blind} refusals, then generation {probe_answers[-1].generation}")
        with reporter.step("verify", "Erasing and verifying every node"):
            forget = outage.wait_converged(client, forget.campaign_id, deadline)
            enrolment.wait_active_everywhere(fleet, everybody - {tag}, deadline)
            say(f"verified on every node {forget.seconds_to_verify:.1f} s after the command")
        with reporter.step("measure_after", "Drawing on every node again"):
            after = measured("forgotten", tag)
            fresh = drawing.draw_alone_anew(fleet, classes, forgotten.name)
            status_after = enrolment.statuses(fleet)
            metrics_after = observation.generations(fleet)
            certificate = verify_certificate(client.get_certificate(forget.campaign_id), fleet.command_public_key)
        unknown = (sum(d.alone for d in never.values()), sum(d.alone_images for d in never.values()))
        evidence = DrawnEvidence(
            fleet_id=client.get_fleet().fleet_id,
            forgotten_person=forgotten.name,
            forgotten_tags=frozenset({tag}),
            enrolled_on=where,
            identities=fleet.identities,
            programmed=programmed,
            status_before=status_before,
            status_after=status_after,
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
            never=never,
            before=before,
            after=after,
            fresh_alone=fresh,
            never_interval=rate_interval(*unknown),
            fresh_p=same_rate_p(unknown, fresh),
            job_refusal=job_refusal,
        )
        return DrawnDemo(evidence, album)


def _refused_job(client: FleetClient) -> str:
    """Ask for a learning job; return why there is none."""
    try:
        client.start_learning(new_tag(), types.LEARNING_KIND_TRAIN_LORA, 1)
    except ConflictError as error:
        return str(error) if not client.list_learning() else ""
    return ""
