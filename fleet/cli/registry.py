"""`fleet registry enroll|key|list`: who is behind which tag, and who may be enrolled where."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from fleet.cli.output import Format, OutputFormat, hint, note, records, show
from fleet.cli.session import session
from fleet.documents import document

app = typer.Typer(help="The caller's map of people to random tags; it never leaves this machine.")


@app.command("enroll")
def enroll(
    ctx: typer.Context,
    person: Annotated[str, typer.Argument(help="- reads the name from standard input.")],
    node: Annotated[list[str], typer.Option(help="A node that may enrol them; once for each node.")],
    tag: Annotated[
        str | None, typer.Option(help="Another ticket for an enrolment that there is, instead of a new one.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.001, max=3650, help="How long the ticket holds.")] = 30.0,
    fleet: Annotated[str | None, typer.Option(help="Id of the fleet.", show_default="asked of the coordinator")] = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Give a person a random tag, and print the signed ticket with which these nodes may enrol them.

    One tag per consent: after a forget the person needs a new one.
    """
    from reram_fleet.crypto.tickets import ticket_text

    from fleet.domain.tags import validate_node_id
    from fleet.registry import RegistryError

    if person == "-":
        person = sys.stdin.readline().strip()
    registry = session(ctx).registry()
    nodes = [validate_node_id(name) for name in node]
    fleet_id = fleet or session(ctx).fleet_id()
    # Before anything is written: a key that is missing must not leave an enrolment without a ticket.
    registry.key()
    if tag is None:
        tag = registry.enrol(person)
    elif tag not in registry.active_tags(person):
        raise RegistryError(f"{person} has no active enrolment with the tag {tag[:40]!r}")
    ticket = ticket_text(registry.ticket(tag, fleet_id, nodes, days))
    if form is OutputFormat.JSON:
        show(form, document("EnrolmentTicket", person=person, tag=tag, nodes=nodes, ticket=ticket), tuple)
        return
    typer.echo(ticket)
    note(f"{person} may be enrolled on {', '.join(nodes)} for {days:g} days; tag {tag} in {registry.path}.")
    hint("edge-node enroll --ticket TICKET ... on each of these nodes")


@app.command("key")
def key(ctx: typer.Context) -> None:
    """Print the public key that tickets are signed under: `fleet serve --registry-key` takes it."""
    registry = session(ctx).registry()
    typer.echo(registry.key().public_key().public_bytes_raw().hex())
    note(f"The private half is {registry.key_path}: keep a copy of it, and of the registry, in a safe place.")


@app.command("list")
def list_people(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """List people, their tags, and what became of them."""
    registry = session(ctx).registry()
    people = registry.people()
    items = [{"person": person, **asdict(enrolment)} for person, all_of in people.items() for enrolment in all_of]

    columns = {name: name for name in ("person", "tag", "state")}
    columns |= {"enrolled": "enrolled_at_unix_ms", "campaign": "campaign_id"}
    show(form, document("EnrolmentList", items=items), lambda: [records("Registry", columns, items)])
    if form is OutputFormat.TABLE:
        note(f"From {registry.path}{'' if registry.path.exists() else ', which does not exist yet'}.")
        if not items:
            hint("--registry FILE, or the context of a fleet (`fleet up`), names another registry")
