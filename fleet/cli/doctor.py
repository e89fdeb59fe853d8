"""`fleet doctor`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

import typer

from fleet.cli.admin import Database, State
from fleet.cli.exits import ExitCode
from fleet.cli.output import Columns, Format, OutputFormat, note, records, show
from fleet.cli.serve import database_address
from fleet.cli.session import session
from fleet.config import default_coordinator_state
from fleet.documents import document


def doctor(
    ctx: typer.Context,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Prometheus that should scrape this fleet, to look at as well.")
    ] = None,
    state: State = None,
    database: Database = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Look whether the coordinator and what it stands on are well; nothing is changed.

    Works without a coordinator that runs, and then says what it could not look at. Run it on the coordinator's machine,
    as its user: from elsewhere only what the coordinator answers is seen.

    Exit code: 0 if nothing failed (warnings, and what could not be looked at, are no failures), else 1.
    """
    from fleet.coordinator.folder import CoordinatorFolder
    from fleet.doctor.examination import examine
    from fleet.doctor.findings import State as FindingState
    from fleet.doctor.target import Target

    context = session(ctx).context()
    root = state or context.state
    if root is None and context.address is None and default_coordinator_state().is_dir():
        root = default_coordinator_state()
    folder = None if root is None else CoordinatorFolder(root.absolute(), database_address(ctx, database))
    findings = examine(Target.find(context, folder, prometheus))
    counts = Counter(each.state for each in findings)
    worst = max(counts, key=list(FindingState).index)
    body = {"state": worst, "counts": {each: counts[each] for each in FindingState}}
    rows = [asdict(each) for each in findings]
    show(form, document("Examination", **body, findings=rows), lambda: [records("Examination", _FINDINGS, rows)])
    note(", ".join(f"{counts[each]} {each}" for each in FindingState if counts[each]))
    if worst is FindingState.FAILURE:
        raise typer.Exit(ExitCode.FAILED)


def _found(finding: dict[str, Any]) -> object:
    return (finding["found"], f"-> {finding['fix']}") if finding["fix"] else finding["found"]


_FINDINGS: Columns = {"state": "state", "area": "area", "found, and what to do": _found}
