"""`fleet forget create|list|show|watch`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.exits import UsageError
from fleet.cli.forget_view import forget_list, forget_renderables
from fleet.cli.output import Format, OutputFormat, hint, note, show
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_forget
from fleet.domain.campaign import CampaignState
from fleet.domain.tags import new_id, validate_tags
from fleet.errors import ConflictError

if TYPE_CHECKING:
    from fleet.registry import Enrolment, Registry

app = typer.Typer(help="Forget people, on every node, and see it proved.", no_args_is_help=True)

Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait until every node has verified.")]


@app.command()
def create(
    ctx: typer.Context,
    subject: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A person of the registry; may be repeated.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="A subject tag; may be repeated.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="The same id again forgets nothing twice.", show_default="a new one")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Commit also when no node has reported the tag yet.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: a forget cannot be undone.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every node has verified.")] = False,
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Forget people on every node, for good. Nodes out of reach stop answering until they have caught up."""
    from fleet.documents import document, forget_document

    names = subject or []
    registry = session(ctx).registry()
    found = {name: _tags_to_forget(registry, name, request_id) for name in names}
    tags = validate_tags([*(t for tags in found.values() for t in tags), *(tag or [])])
    _confirm(names, len(tags), yes)
    request = request_id or new_id(time.time_ns() // 1_000_000)
    with session(ctx).client() as client:
        # Said before the call: whoever loses the answer can ask again under the same id.
        note(f"Request {request}: forgetting {len(tags)} enrolment{'s' if len(tags) > 1 else ''}.")
        response = client.create_forget(request, list(tags), allow_unknown=allow_unknown)
        forget = response.forget
        registry.mark_forgotten(tags, forget.campaign_id)
        verb = "committed" if response.created else "was committed by an earlier call"
        note(f"Campaign {forget.campaign_id} {verb}, generation {forget.generation}.")
        if wait:
            forget = wait_for_forget(client, forget.campaign_id, timeout)
    result = forget_document(forget)
    show(
        form,
        document("Forget", **result, created=response.created),
        lambda: forget_renderables(result),
    )
    if form is OutputFormat.TABLE and not wait:
        hint(f"fleet forget watch {forget.campaign_id}")


@app.command("list")
def list_forgets(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """List campaigns, oldest first."""
    from fleet.documents import document, forget_document

    with session(ctx).client() as client:
        forgets = [forget_document(forget) for forget in client.list_forgets()]
    show(form, document("ForgetList", items=forgets), lambda: [forget_list(forgets)])


@app.command("show")
def show_forget(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show one campaign: every node, verdicts, cost, receipts."""
    from fleet.documents import document, forget_document

    with session(ctx).client() as client:
        forget = forget_document(client.get_forget(campaign_id))
    show(form, document("Forget", **forget), lambda: forget_renderables(forget))
    if form is OutputFormat.TABLE and forget["state"] != CampaignState.CONVERGED:
        hint(f"fleet forget watch {campaign_id}")


@app.command()
def watch(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Follow a campaign until every node has verified; exit code 7 if it takes too long."""
    from fleet.documents import document, forget_document

    with session(ctx).client() as client:
        # First a plain look, so that a wrong id or token is told at once.
        client.get_forget(campaign_id)
        forget = forget_document(wait_for_forget(client, campaign_id, timeout))
    show(form, document("Forget", **forget), lambda: forget_renderables(forget))


def _tags_to_forget(registry: Registry, person: str, request_id: str | None) -> list[str]:
    active = registry.active_tags(person)
    if active:
        return active
    last = registry.enrolments(person)[-1]
    if request_id is None:
        raise ConflictError(
            f"{person!r} is forgotten already (campaign {last.campaign_id})",
            hint=f"fleet forget show {last.campaign_id}",
        )
    # A repeated request has to carry the tags of the first one.
    return _of_campaign(registry.enrolments(person), last.campaign_id)


def _of_campaign(enrolments: tuple[Enrolment, ...], campaign_id: str | None) -> list[str]:
    return [enrolment.tag for enrolment in enrolments if enrolment.campaign_id == campaign_id]


def _confirm(names: list[str], tags: int, yes: bool) -> None:
    if yes:
        return
    who = ", ".join(names) or f"{tags} tag{'s' if tags > 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(
            f"forgetting {who} cannot be undone, and there is no terminal to ask at",
            hint="add --yes",
        )
    typer.confirm(f"Forget {who} on every node? This cannot be undone.", abort=True, err=True)
