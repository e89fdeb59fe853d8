"""`fleet audit cohort`: training of a cohort shard done again on the fleet, and compared integer by integer."""

from __future__ import annotations

from typing import Annotated

import typer
from reram_fleet.processes.command_line import FiniteRange

from fleet.cli.exits import ExitCode
from fleet.cli.output import Format, OutputFormat, note, show, table
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_audit
from fleet.documents import cohort_document, document
from fleet.domain.cohort import AuditState

app = typer.Typer(help="Re-execute what can be re-executed.", no_args_is_help=True)


@app.command()
def cohort(
    ctx: typer.Context,
    shard: Annotated[int, typer.Option(min=0, help="Shard to train again.")],
    timeout: Annotated[float, typer.Option(click_type=FiniteRange(min=0), help="Seconds to wait.")] = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Let the fleet train a cohort shard again from its very first round, and compare digests of integers.

    Nothing is installed. It runs on the nodes, since only they have the captured samples. Exit code 0: reproduced. 1:
    not reproduced. 8: digests differ, but a logged node or the samples are not those of then, so nothing is proved.
    """
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
    if audit["state"] != AuditState.REPRODUCED:
        raise typer.Exit(ExitCode.FAILED)
