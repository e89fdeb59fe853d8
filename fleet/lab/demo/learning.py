"""Learning together in the demo: a LoRA that Flower trains, how a forget takes a person out of it, and its claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.flower import MESSAGE_TYPES
from reram_fleet.v1 import types_pb2 as types

from fleet.cli.waiting import wait_for_job
from fleet.client import FleetClient
from fleet.domain.learning import JobKind, JobState, LoraKind
from fleet.errors import ConflictError
from fleet.lab.demo.claims import Claim, verdicts, verdicts_text
from fleet.lab.demo.evidence import Evidence, Learnt
from fleet.local.deadline import Deadline

#: Shards of the demo's cohort LoRA: a few people learn from one another only if they are in one.
SHARDS = 1

_KINDS = {LoraKind.COHORT: types.LEARNING_KIND_TRAIN_COHORT, LoraKind.SHARED: types.LEARNING_KIND_TRAIN_LORA}
_VERDICTS = {LoraKind.COHORT: ("cohort-lora", "EXACT"), LoraKind.SHARED: ("shared-lora", "APPROXIMATE")}


def train(client: FleetClient, lora: LoraKind, rounds: int, deadline: Deadline, say: Callable[[str], None]) -> Learnt:
    """Have the LoRA trained by Flower, with whoever is enrolled, and wait for it."""
    shards = SHARDS if lora is LoraKind.COHORT else 0
    try:
        response = client.start_learning(new_tag(), _KINDS[lora], rounds, shards)
    except ConflictError as error:
        say(f"refused: {error}")
        return Learnt(refusal=str(error))
    queued = response.jobs or [response.job]
    jobs = tuple(wait_for_job(client, job.job_id, deadline.left_s, say) for job in queued)
    runs = ", ".join(str(job.flower_run_id) for job in jobs)
    found = Learnt(jobs)
    say(f"run {runs} became revision {found.revision}")
    return found


def wait_replayed(client: FleetClient, deadline: Deadline, say: Callable[[str], None]) -> None:
    """Wait until every cohort shard has been trained again without those who were forgotten."""

    def waiting() -> list[int]:
        return [shard.shard for shard in client.get_cohorts().cohorts if shard.HasField("replay_from")]

    for shard in waiting():
        say(f"shard {shard} is trained again when the nodes of its log are back")
    deadline.until("every shard is trained again without them", lambda: not waiting() or None)


def claims(lora: LoraKind) -> tuple[Callable[[Evidence[Any]], Claim], ...]:
    """Return what has to hold of a LoRA of this kind."""
    told = dict([("subject-adapter", "EXACT"), ("closed-form-head", "EXACT"), _VERDICTS[lora]])
    name = {
        LoraKind.COHORT: "subject adapter, head and cohort LoRA are forgotten exactly",
        LoraKind.SHARED: "subject adapter and head are forgotten exactly, the shared LoRA approximately",
    }[lora]

    def as_promised(evidence: Evidence[Any]) -> Claim:
        return Claim(name, verdicts(evidence) == told, verdicts_text(evidence))

    return (_trained, _replayed if lora is LoraKind.COHORT else _repaired, _listed, as_promised)


def _trained(evidence: Evidence[Any]) -> Claim:
    learnt = (evidence.learnt, evidence.learnt_again)
    jobs = [job for each in learnt for job in each.jobs]
    return Claim(
        "the LoRA was trained by Flower, and again with the newcomer",
        all(each.jobs for each in learnt)
        and all(
            job.state == JobState.SUCCEEDED and job.rounds_done == job.rounds and job.flower_run_id != 0 for job in jobs
        ),
        "; ".join(
            f"run {job.flower_run_id}, {job.rounds_done} of {job.rounds} rounds, attempt {job.attempt}" for job in jobs
        )
        + "".join(f"; refused: {each.refusal}" for each in learnt if each.refusal),
    )


def _repaired(evidence: Evidence[Any]) -> Claim:
    name = "the shared LoRA was repaired by a Flower run"
    repair = next((job for job in evidence.jobs if job.job_id == evidence.forget.repair_job_id), None)
    if repair is None:
        return Claim(name, False, "the campaign names no repair job")
    kind = MESSAGE_TYPES.get(repair.kind)
    return Claim(
        name,
        kind == JobKind.UNLEARN_LORA and repair.state == JobState.SUCCEEDED,
        f"run {repair.flower_run_id} ({kind}), {repair.state}",
    )


def _replayed(evidence: Evidence[Any]) -> Claim:
    replays = [job for job in evidence.jobs if job.kind == types.LEARNING_KIND_REPLAY_COHORT]
    rounds = sum(job.rounds_done for job in replays)
    wanted = sum(job.rounds for job in evidence.learnt.jobs)
    return Claim(
        "the cohort was trained again without the forgotten person by Flower, round for round",
        bool(replays) and all(job.state == JobState.SUCCEEDED for job in replays) and rounds == wanted,
        f"{rounds} of {wanted} rounds, run " + ", ".join(f"{job.flower_run_id} {job.state}" for job in replays)
        if replays
        else "no replay",
    )


def _listed(evidence: Evidence[Any]) -> Claim:
    listed = {run.run_id: run.status for run in evidence.flower_runs}
    wanted = {job.flower_run_id for job in evidence.jobs if job.state == JobState.SUCCEEDED}
    return Claim(
        "`flwr ls` lists the jobs as finished",
        len(wanted) >= 2 and all(listed.get(run) == "finished:completed" for run in wanted),
        ", ".join(f"{run_id} {status}" for run_id, status in listed.items()) or "no runs",
    )
