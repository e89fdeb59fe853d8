"""`fleet learn start|evaluate|list|show|cohorts|drop`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from reram_fleet.processes.command_line import FiniteRange
from rich.console import RenderableType

from fleet.cli.confirm import Yes, confirm
from fleet.cli.exits import UsageError
from fleet.cli.output import Columns, Format, OutputFormat, cells, counted, facts, note, records, show
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_job
from fleet.documents import cohort_document, document, job_document
from fleet.domain.learning import JobKind, LoraKind
from fleet.domain.tags import new_id

if TYPE_CHECKING:
    from reram_fleet.v1.operator_pb2 import StartLearningResponse
    from reram_fleet.v1.types_pb2 import LearningKind

    from fleet.client import FleetClient

app = typer.Typer(help="Learning jobs: each is one Flower run.", no_args_is_help=True)


RequestId = Annotated[
    str | None, typer.Option(help="The same id again starts nothing twice.", show_default="a new one")
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the job is over.")]
Timeout = Annotated[float, typer.Option(click_type=FiniteRange(min=0), help="Seconds to wait, with --wait.")]


@app.command()
def start(
    ctx: typer.Context,
    lora: Annotated[LoraKind, typer.Option(help="Who shares the LoRA that is trained.")] = LoraKind.COHORT,
    rounds: Annotated[int, typer.Option(min=1, help="Federated rounds.")] = 3,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of a cohort LoRA: shards that are trained apart, so that a forget trains one of them again; fixed "
            "with the first training.",
            show_default="as before, or 4",
        ),
    ] = None,
    request_id: RequestId = None,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Train a LoRA by Flower: in cohort shards, one job each, or one that everybody shares.

    A forget of a cohort LoRA is exact: the person's shard is trained again without them. One of a shared LoRA is
    repaired, approximately. A fleet has one or the other; `fleet learn drop` leaves either.
    """
    if lora is LoraKind.SHARED:
        if shards is not None:
            raise UsageError("--shards goes with --lora cohort")
        _start_one(ctx, JobKind.TRAIN_LORA, rounds, request_id, wait, timeout, form)
        return
    with session(ctx).client() as client:
        response = client.start_learning(_request(request_id), _number(JobKind.TRAIN_COHORT), rounds, shards or 0)
        _show_cohort_jobs(client, response, wait, timeout, form)


@app.command()
def evaluate(
    ctx: typer.Context,
    request_id: RequestId = None,
    wait: Wait = False,
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Have every node say how well the LoRA recognises the people whose samples it has captured."""
    _start_one(ctx, JobKind.EVALUATE_QUALITY, 1, request_id, wait, timeout, form)


def _start_one(
    ctx: typer.Context,
    kind: JobKind,
    rounds: int,
    request_id: str | None,
    wait: bool,
    timeout: float,
    form: OutputFormat,
) -> None:
    with session(ctx).client() as client:
        response = client.start_learning(_request(request_id), _number(kind), rounds)
        job = response.job
        note(f"Job {job.job_id} {'queued' if response.created else f'exists already ({job.state})'}.")
        if wait:
            job = wait_for_job(client, job.job_id, timeout)
    found = job_document(job)
    then = None if wait else f"fleet learn show {job.job_id}"
    show(form, document("LearningJob", **found, created=response.created), lambda: [_facts(found)], then=then)


def _request(request_id: str | None) -> str:
    return request_id or new_id(time.time_ns() // 1_000_000)


def _number(kind: JobKind) -> LearningKind:
    from fleet.coordinator.wire_enums import LEARNING_KIND

    number: LearningKind = LEARNING_KIND.values[kind]
    return number


def _show_cohort_jobs(
    client: FleetClient, response: StartLearningResponse, wait: bool, timeout: float, form: OutputFormat
) -> None:
    jobs = list(response.jobs)
    note(f"{counted(len(jobs), 'job')} {'queued' if response.created else 'there already'}, one per shard with people.")
    for shard in response.skipped_shards:
        note(f"Shard {shard} is being replayed after a forget, and not trained now.")
    if wait:
        deadline = time.monotonic() + timeout
        jobs = [wait_for_job(client, job.job_id, deadline - time.monotonic()) for job in jobs]
    found = [job_document(job) for job in jobs]
    show(
        form,
        document(
            "LearningJobList", items=found, created=response.created, skipped_shards=list(response.skipped_shards)
        ),
        lambda: [_table(found)],
    )


@app.command()
def cohorts(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """Show the cohort shards: who entered when, who took part in each round, what is installed.

    With json or yaml in full: what an auditor needs beside the samples that nodes have captured.
    """
    with session(ctx).client() as client:
        shards = [cohort_document(shard) for shard in client.get_cohorts().cohorts]

    columns: Columns = {
        "shard>": "shard",
        "people>": lambda shard: len(shard["entries"]),
        "rounds>": "rounds",
        "state": lambda s: "installed" if s["replay_from"] is None else f"replayed from round {s['replay_from']}",
        "digest": lambda shard: (shard["digest"] or "")[:16],
        "audit": lambda shard: shard["audit"]["state"],
    }
    show(form, document("CohortShardList", items=shards), lambda: [records("Cohort shards", columns, shards)])


@app.command()
def drop(ctx: typer.Context, yes: Yes = False, form: Format = OutputFormat.TABLE) -> None:
    """Drop what was learned by gradient, shared or in cohorts; subject adapters stay."""
    confirm("dropping the LoRA", "Drop the LoRA on every node, with all that was trained?", yes)
    with session(ctx).client() as client:
        response = client.drop_lora()
    found = {"revision": response.revision, "rows": response.rows}
    show(
        form,
        document("DroppedLora", **found),
        lambda: [facts("Dropped LoRA", {"rows": response.rows, "revision without it": response.revision})],
    )


@app.command("list")
def list_jobs(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """List learning jobs, oldest first."""
    with session(ctx).client() as client:
        jobs = [job_document(job) for job in client.list_learning()]

    show(form, document("LearningJobList", items=jobs), lambda: [_table(jobs)])


@app.command("show")
def show_job(
    ctx: typer.Context, job_id: Annotated[str, typer.Argument(metavar="JOB")], form: Format = OutputFormat.TABLE
) -> None:
    """Show one learning job."""
    with session(ctx).client() as client:
        job = job_document(client.get_learning(job_id))
    show(form, document("LearningJob", **job), lambda: [_facts(job)])


def _table(jobs: list[dict[str, Any]]) -> RenderableType:
    columns: Columns = {
        "job": "job_id",
        "type": "type",
        "shard>": "shard",
        "state": "state",
        "attempt>": "attempt",
        "rounds>": lambda job: f"{job['rounds_done']}/{job['rounds']}",
        "Flower run>": "flower_run_id",
        "revision>": "revision",
        "created": "created_at_unix_ms",
    }
    return records("Learning jobs", columns, jobs)


def _facts(job: dict[str, Any]) -> RenderableType:
    columns: Columns = {
        "type": "type",
        "shard": "shard",
        "state": "state",
        "attempt": "attempt",
        "rounds": lambda job: f"{job['rounds_done']} of {job['rounds']}",
        "generation": "generation",
        "Flower run": "flower_run_id",
        "became revision": "revision",
        "campaign": "campaign_id",
        "error": "error",
        "last round": lambda job: ", ".join(f"{name} {value:.4g}" for name, value in sorted(job["metrics"].items())),
    }
    return facts(f"Learning job {job['job_id']}", cells(columns, job))
