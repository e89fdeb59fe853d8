"""`fleet registry enroll|list`: who is behind which tag. Works without a coordinator."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from fleet.cli.output import Format, OutputFormat, clock, hint, note, show, table
from fleet.cli.session import session

app = typer.Typer(help="The caller's map of people to random tags; it never leaves this machine.")


@app.command("enroll")
def enroll(
    ctx: typer.Context,
    person: Annotated[str, typer.Argument(help="- reads the name from standard input.")],
) -> None:
    """Give a person a new random tag (printed to stdout): one per consent."""
    if person == "-":
        person = sys.stdin.readline().strip()
    registry = session(ctx).registry()
    tag = registry.enrol(person)
    typer.echo(tag)
    note(f"{person} has a new enrolment in {registry.path}.")
    hint(f"edge-node enroll --tag {tag} ... on each node that is to know this person")


@app.command("list")
def list_people(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """List people, their tags, and what became of them."""
    from fleet.documents import document

    registry = session(ctx).registry()
    people = registry.people()
    items = [
        {"person": person, **asdict(enrolment)} for person, all_of in people.items() for enrolment in all_of
    ]

    show(
        form,
        document("EnrolmentList", items=items),
        lambda: [
            table(
                "Registry",
                ["person", "tag", "state", "enrolled", "campaign"],
                (
                    (e["person"], e["tag"], e["state"], clock(e["enrolled_at_unix_ms"]), e["campaign_id"])
                    for e in items
                ),
            )
        ],
    )
    if form is OutputFormat.TABLE:
        note(f"From {registry.path}{'' if registry.path.exists() else ', which does not exist yet'}.")
        if not items:
            hint("--registry FILE, or the context of a fleet (`fleet up`), names another registry")
