"""`fleet learn start|list|show`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import RenderableType

from fleet.cli.output import Format, OutputFormat, clock, facts, hint, note, show, table
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_job
from fleet.domain.learning import JobKind
from fleet.domain.tags import new_id

app = typer.Typer(help="Learning jobs: each is one Flower run.", no_args_is_help=True)


class StartableKind(StrEnum):
    """Kinds that an operator starts; `train.unlearn` is started by a forget."""

    TRAIN_LORA = JobKind.TRAIN_LORA
    EVALUATE_QUALITY = JobKind.EVALUATE_QUALITY


@app.command()
def start(
    ctx: typer.Context,
    kind: Annotated[StartableKind, typer.Option(help="What to do.")] = StartableKind.TRAIN_LORA,
    rounds: Annotated[int, typer.Option(min=1, help="Federated rounds.")] = 3,
    request_id: Annotated[
        str | None, typer.Option(help="The same id again starts nothing twice.", show_default="a new one")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the job is over.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait, with --wait.")] = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Start a learning job."""
    from reram_fleet.flower import MESSAGE_TYPES

    from fleet.documents import document, job_document

    number = next(number for number, name in MESSAGE_TYPES.items() if name == kind)
    request = request_id or new_id(time.time_ns() // 1_000_000)
    with session(ctx).client() as client:
        response = client.start_learning(request, number, rounds)
        job = response.job
        note(f"Job {job.job_id} {'queued' if response.created else f'exists already ({job.state})'}.")
        if wait:
            job = wait_for_job(client, job.job_id, timeout)
    found = job_document(job)
    show(form, document("LearningJob", **found, created=response.created), lambda: [_facts(found)])
    if form is OutputFormat.TABLE and not wait:
        hint(f"fleet learn show {job.job_id}")


@app.command("list")
def list_jobs(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """List learning jobs, oldest first."""
    from fleet.documents import document, job_document

    with session(ctx).client() as client:
        jobs = [job_document(job) for job in client.list_learning()]

    def render() -> Iterable[RenderableType]:
        yield table(
            "Learning jobs",
            ["job", "type", "state", "attempt>", "rounds>", "Flower run>", "revision>", "created"],
            (
                (
                    j["job_id"],
                    j["type"],
                    j["state"],
                    j["attempt"],
                    f"{j['rounds_done']}/{j['rounds']}",
                    j["flower_run_id"],
                    j["revision"],
                    clock(j["created_at_unix_ms"]),
                )
                for j in jobs
            ),
        )

    show(form, document("LearningJobList", items=jobs), render)


@app.command("show")
def show_job(
    ctx: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show one learning job."""
    from fleet.documents import document, job_document

    with session(ctx).client() as client:
        job = job_document(client.get_learning(job_id))
    show(form, document("LearningJob", **job), lambda: [_facts(job)])


def _facts(job: dict[str, object]) -> RenderableType:
    metrics = job["metrics"]
    assert isinstance(metrics, dict)
    return facts(
        f"Learning job {job['job_id']}",
        {
            "type": job["type"],
            "state": job["state"],
            "attempt": job["attempt"],
            "rounds": f"{job['rounds_done']} of {job['rounds']}",
            "generation": job["generation"],
            "Flower run": job["flower_run_id"],
            "became revision": job["revision"],
            "campaign": job["campaign_id"],
            "error": job["error"],
            "last round": ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())),
        },
    )
