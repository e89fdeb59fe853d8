"""`fleet admin backup|restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from reram_fleet.processes.command_line import folder

from fleet.cli.confirm import Yes, confirm
from fleet.cli.output import Format, OutputFormat, clock, counted, facts, hint, note, show
from fleet.cli.serve import database_address
from fleet.cli.session import session
from fleet.config import default_coordinator_state
from fleet.documents import document

if TYPE_CHECKING:
    from fleet.coordinator.folder import CoordinatorFolder

app = typer.Typer(help="Care for a coordinator, on its machine.", no_args_is_help=True)

State = Annotated[
    Path | None,
    typer.Option(
        parser=folder, metavar="DIR", help="Folder of the coordinator.", show_default="that of the context, or per user"
    ),
]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="As for `fleet serve`.", show_default="fleet.db in the folder"),
]


def _folder(ctx: typer.Context, state: Path | None, database: str | None) -> CoordinatorFolder:
    from fleet.coordinator.folder import CoordinatorFolder

    root = state or session(ctx).context().state or default_coordinator_state()
    return CoordinatorFolder(root.absolute(), database_address(ctx, database))


@app.command()
def backup(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write; there must be none yet.")],
    with_secrets: Annotated[
        bool,
        typer.Option("--with-secrets", help="With the keys that forgets destroy: no forget reaches such a backup."),
    ] = False,
    state: State = None,
    database: Database = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Write a backup of the coordinator, which may be serving: rows and its own keys, in one private file."""
    from fleet.coordinator.backup import back_up

    made = back_up(_folder(ctx, state, database), output, with_secrets=with_secrets)
    if with_secrets:
        note(
            f"Warning: whoever has {output} can open what everybody in it was recognised by, also of those who are "
            "forgotten later. Keep it on an encrypted disk, and destroy it when the next forget is made."
        )
    pairs = {"file": output, "fleet": made.fleet_id, "generation": made.generation, "made": clock(made.made_at_ms)}
    show(form, document("Backup", file=str(output), **asdict(made)), lambda: [facts("Backup", pairs)])


@app.command()
def restore(
    ctx: typer.Context,
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `fleet admin backup` has written.")],
    lose_forgets: Annotated[
        bool, typer.Option("--lose-forgets", help="Restore though forgets of after the backup are lost.")
    ] = False,
    state: State = None,
    database: Database = None,
    yes: Yes = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Bring a coordinator back that does not serve: all rows are replaced, and its files if they are missing."""
    from fleet.coordinator.restore import restore as bring_back

    where = _folder(ctx, state, database)
    confirm("restoring a coordinator", f"All rows of {where.root} are replaced by those of {archive}.", yes)
    done = bring_back(where, archive, lose_forgets=lose_forgets)
    manifest = done.manifest
    pairs = {
        "fleet": manifest.fleet_id,
        "as of": clock(manifest.made_at_ms),
        "generation": manifest.generation,
        "generation before": "not known" if done.generation_before is None else done.generation_before,
        "forgotten since": done.still_forgotten or "nobody",
        "to be captured anew": done.without_key or "nobody",
        "keys": f"{done.keys_back} came back, {done.keys_refused} did not",
    }
    body = {**asdict(done), "manifest": asdict(manifest)}
    show(form, document("Restore", **body), lambda: [facts("Restored", pairs)])
    hint(
        "serve it. Until every node has said where it is, no forget is taken and no lease granted (`fleet status`); "
        "nodes bring back the forgets that they have heard of."
    )
    if done.still_forgotten:
        hint("then those are forgotten anew who were forgotten since, and whose forget no node has brought back.")
    if done.generation_before is None:
        hint("then forget those anew who were forgotten since and are not in `fleet forget list`.")
        hint("retire anew, as soon as it serves, nodes that were retired after the backup.")
    hint("enrol anew nodes that were enrolled after the backup: `fleet node enroll` with the same identity.")


@app.command("accept-restore")
def accept_restore(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why: one line, signed into the log for auditors.")],
    yes: Yes = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Go on, after a restore, without the nodes that have not reconnected: forgets that nobody else knows are lost."""
    with session(ctx).client() as client:
        awaited = [node.node_id for node in client.list_nodes().items if node.awaited_since_unix_ms]
        question = f"Go on without {', '.join(awaited)}? Forgets that they alone have heard of are lost"
        lost = f"{question} if nothing here tells of them, and such a node must be enrolled anew under another id."
        confirm("accepting a restore", lost, yes)
        accepted = client.accept_restore(reason)
    note(f"Forgets and leases wait no longer for {counted(len(accepted), 'node')}: {', '.join(accepted)}.")
    show(
        form,
        document("RestoreAccepted", node_ids=accepted),
        lambda: [facts("Accepted", {"not heard": tuple(accepted)})],
        then="fleet status",
    )
