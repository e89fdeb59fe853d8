"""`fleet audit replay|cohort`: doing again what can be done again, and comparing integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from reram_fleet.processes.command_line import FiniteRange

from fleet.cli.exits import ExitCode
from fleet.cli.output import Format, OutputFormat, note, show, table
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_audit

app = typer.Typer(add_completion=False, help="Re-execute what can be re-executed.", no_args_is_help=True)


@app.command()
def replay(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", exists=True, dir_okay=False)],
    codes: Annotated[
        Path,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, help="Captured codes with their salts, a file per node."
        ),
    ],
    form: Format = OutputFormat.TABLE,
) -> None:
    """Train a cohort again without the forgotten person, and compare digests of integers.

    Any machine will do: training is exact. Exit code 0: reproduced. 1: not reproduced.
    """
    from fleet.documents import document
    from fleet.lab.replay.audit import ReplayVerdict, audit_replay

    outcome = audit_replay(manifest, codes)
    items = [{"name": x.name, "holds": x.holds, "expected": x.expected, "got": x.got} for x in outcome.lines]
    show(
        form,
        document("ReplayAudit", verdict=outcome.verdict.value, lines=items),
        lambda: [
            table(
                f"{manifest.name}: {outcome.verdict.value}",
                ["", "line", "expected", "seen"],
                [("holds" if x.holds else "DIFFERS", x.name, x.expected, x.got) for x in outcome.lines],
            )
        ],
    )
    if outcome.verdict is ReplayVerdict.NOT_REPRODUCED:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def cohort(
    ctx: typer.Context,
    shard: Annotated[int, typer.Option(min=0, help="Shard to train again.")],
    timeout: Annotated[float, typer.Option(click_type=FiniteRange(min=0), help="Seconds to wait.")] = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Let the fleet train a cohort shard again from its very first round, and compare digests of integers.

    Nothing is installed. It runs on the nodes, since only they have the captured samples. Exit code 0: reproduced. 1:
    not reproduced. 8: digests differ, but a logged node, its environment or the samples are not those of then, so
    nothing is proved.
    """
    from fleet.documents import cohort_document, document

    with session(ctx).client() as client:
        client.audit_cohort(shard)
        found = cohort_document(wait_for_audit(client, shard, timeout))
    audit = found["audit"]
    title = f"shard {shard}, {found['rounds']} rounds: {audit['state'].upper().replace('-', ' ')}"
    rows = [("holds" if x["holds"] else "DIFFERS", x["name"], x["expected"], x["got"]) for x in audit["lines"]]
    show(form, document("CohortAudit", **found), lambda: [table(title, ["", "line", "expected", "seen"], rows)])
    if audit["detail"]:
        note(audit["detail"])
    if audit["state"] == "inconclusive":
        raise typer.Exit(ExitCode.PARTIAL)
    if audit["state"] != "reproduced":
        raise typer.Exit(ExitCode.FAILED)
