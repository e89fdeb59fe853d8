"""`fleet forget create|list|show|watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any

import typer
from reram_fleet.processes.command_line import FiniteRange

from fleet.cli.confirm import Yes, confirm
from fleet.cli.exits import UsageError
from fleet.cli.forget_view import forget_list, forget_renderables
from fleet.cli.output import Format, OutputFormat, counted, note, show
from fleet.cli.pages import LIMIT, After, All, Limit, at_most, note_more, paged
from fleet.cli.session import session
from fleet.cli.waiting import wait_for_forget
from fleet.documents import document, execution_document, forget_document
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.tags import new_id, validate_concept, validate_tags

if TYPE_CHECKING:
    from reram_fleet.v1.operator_pb2 import CreateForgetResponse, Execution, Forget

    from fleet.client import FleetClient, Page
    from fleet.registry import Registry

app = typer.Typer(
    help="Forget people, or what the backbone knows, on every node, and see it proved.", no_args_is_help=True
)

#: In place of a name: read names from standard input.
_STDIN = "-"

Timeout = Annotated[
    float, typer.Option(click_type=FiniteRange(min=0), help="Seconds to wait until every node has verified.")
]


@app.command()
def create(
    ctx: typer.Context,
    subject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A person of the registry; may be repeated. - reads names from standard input, one a line, "
            "so that no process list shows them.",
        ),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A subject tag; may be repeated.")] = None,
    concept: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A style or a thing that the backbone of generating nodes knows, as style:night: it is masked, by an "
            "eraser that Flower trains.",
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="The same id again forgets nothing twice.", show_default="a new one")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Commit also when no node has reported the tag yet.")
    ] = False,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when every node has verified.")] = False,
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Forget people, or mask a concept, on every node, for good. Nodes out of reach serve nobody meanwhile."""
    if concept is not None:
        if subject or tag:
            raise UsageError("a forget is of people or of a concept, not of both", hint="one forget for each")
        _create_of_concept(ctx, concept, request_id, timeout if wait else None, form, yes=yes)
        return
    names = _names(subject or [], yes)
    registry = session(ctx).registry()
    found = {name: _tags_to_forget(registry, name, request_id) for name in names}
    done = {name: registry.enrolments(name)[-1].campaign_id for name, tags in found.items() if not tags}
    for name, campaign_id in done.items():
        note(f"{name} is forgotten already, by campaign {campaign_id}.")
    if done and len(done) == len(names) and not tag:
        _show_done(ctx, sorted({str(each) for each in done.values()}), timeout if wait else None, form)
        return
    listed = {t for tags in found.values() for t in tags}
    tags = validate_tags([*listed, *(tag or [])])
    who = ", ".join(name for name in names if name not in done) or counted(len(tags), "tag")
    confirm(f"forgetting {who}", f"Forget {who} on every node?", yes)
    request = request_id or new_id(time.time_ns() // 1_000_000)
    with session(ctx).client() as client:
        # Said before the call: whoever loses the answer can ask again under the same id.
        note(f"Request {request}: forgetting {counted(len(tags), 'enrolment')}.")
        response = _create(client, request, tags, listed, allow_unknown)
        forget = response.forget
        registry.mark_forgotten(tags, forget.campaign_id)
        verb = "committed" if response.created else "was committed by an earlier call"
        note(f"Campaign {forget.campaign_id} {verb}, generation {forget.generation}.")
        if wait:
            forget = wait_for_forget(client, forget.campaign_id, timeout)
        # Nothing has happened yet that a line for each node would tell.
        nodes = client.list_executions(forget.campaign_id, limit=LIMIT) if wait else None
    then = None if wait else f"fleet forget watch {forget.campaign_id}"
    _show(form, forget, nodes, then=then, created=response.created)


def _create_of_concept(
    ctx: typer.Context, concept: str, request_id: str | None, wait_s: float | None, form: OutputFormat, *, yes: bool
) -> None:
    """Mask what the backbone knows: nodes refuse its name at once, and get an eraser."""
    validate_concept(concept)
    confirm(f"forgetting {concept}", f"Have every node refuse {concept} for good?", yes)
    request = request_id or new_id(time.time_ns() // 1_000_000)
    with session(ctx).client() as client:
        note(f"Request {request}: forgetting {concept}. It is masked: the backbone goes on knowing it.")
        response = client.create_forget(request, concepts=[concept])
        forget = response.forget
        verb = "committed" if response.created else "was committed by an earlier call"
        note(f"Campaign {forget.campaign_id} {verb}, generation {forget.generation}.")
        nodes = None
        if wait_s is not None:
            forget = wait_for_forget(client, forget.campaign_id, wait_s)
            nodes = client.list_executions(forget.campaign_id, limit=LIMIT)
    then = None if nodes is not None else f"fleet forget watch {forget.campaign_id}"
    _show(form, forget, nodes, then=then, created=response.created)


def _show(
    form: OutputFormat,
    forget: Forget,
    nodes: Page[Execution] | None,
    *,
    then: str | None = None,
    **more: Any,
) -> None:
    """Print a campaign's summary, and a line for each of some nodes."""
    summary, executions, token = forget_document(forget), [], ""
    if nodes is not None:
        executions, token = [execution_document(each) for each in nodes.items], nodes.next_token
    page = {"executions": executions, "next_page_token": token or None}
    whole = document("Forget", **summary, **page, **more)
    show(form, whole, lambda: forget_renderables(summary, executions), then=then)
    note_more(len(executions), "nodes", token)


def _show_done(ctx: typer.Context, campaigns: list[str], wait_s: float | None, form: OutputFormat) -> None:
    with session(ctx).client() as client:
        forgets = [client.get_forget(each) for each in campaigns]
        if wait_s is not None:
            forgets = [wait_for_forget(client, each, wait_s) for each in campaigns]
        nodes = client.list_executions(forgets[0].campaign_id, limit=LIMIT)
    if len(forgets) == 1:
        _show(form, forgets[0], nodes, created=False)
        return
    found = [forget_document(forget) for forget in forgets]
    show(form, document("ForgetList", items=found), lambda: [forget_list(found)])


def _create(
    client: FleetClient, request: str, tags: Sequence[str], listed: Set[str], allow_unknown: bool
) -> CreateForgetResponse:
    """Commit; an enrolment of the registry that was never used is forgotten with the person's others."""
    from fleet.client import AbsentError

    try:
        return client.create_forget(request, list(tags), allow_unknown=allow_unknown)
    except AbsentError as error:
        unused = error.unknown_tags
        # A tag that was typed, and is unknown, may be a slip; and somebody whom nobody knows, too.
        if not unused or not unused <= listed or unused >= set(tags):
            raise
    note(
        f"No node has ever reported {counted(len(unused), 'enrolment')} of them: forgotten as well, so that "
        "it cannot come later."
    )
    return client.create_forget(request, list(tags), allow_unknown=True)


def _names(given: list[str], yes: bool) -> list[str]:
    """Return the names, `-` replaced by those on standard input: there, no process list shows them."""
    if _STDIN not in given:
        return given
    if not yes:
        raise UsageError("--subject - reads names, so nothing is left to ask at", hint="add --yes")
    read = [line.strip() for line in sys.stdin if line.strip()]
    if not read:
        raise UsageError("--subject - reads one name a line from standard input, and found none")
    return [name for name in given if name != _STDIN] + read


@app.command("list")
def list_forgets(
    ctx: typer.Context,
    limit: Limit = LIMIT,
    everything: All = False,
    after: After = "",
    form: Format = OutputFormat.TABLE,
) -> None:
    """List campaigns, newest first."""
    with session(ctx).client() as client:
        page = client.list_forgets(at_most(limit, everything=everything), after)
    forgets = [forget_document(forget) for forget in page.items]
    show(form, document("ForgetList", **paged(forgets, page.next_token)), lambda: [forget_list(forgets)])
    note_more(len(forgets), "forgets", page.next_token)


@app.command("show")
def show_forget(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    state: Annotated[
        list[ExecutionState] | None, typer.Option(help="Show only nodes in this state; may be repeated.")
    ] = None,
    limit: Limit = LIMIT,
    everything: All = False,
    after: After = "",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show one campaign: counts, verdicts and cost, then node by node with receipts."""
    with session(ctx).client() as client:
        forget = client.get_forget(campaign_id)
        most = at_most(limit, everything=everything)
        nodes = client.list_executions(campaign_id, states=state or (), limit=most, after=after)
    then = f"fleet forget watch {campaign_id}" if forget.state != CampaignState.CONVERGED else None
    _show(form, forget, nodes, then=then)


@app.command()
def watch(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    timeout: Timeout = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Follow a campaign until every node has verified; exit code 7 if it takes too long."""
    with session(ctx).client() as client:
        # First a plain look, so that a wrong id or token is told at once.
        client.get_forget(campaign_id)
        forget = wait_for_forget(client, campaign_id, timeout)
        nodes = client.list_executions(campaign_id, limit=LIMIT)
    _show(form, forget, nodes)


def _tags_to_forget(registry: Registry, person: str, request_id: str | None) -> list[str]:
    """Return what a forget of a person names; nothing if that was done already."""
    active = registry.active_tags(person)
    if active or request_id is None:
        return active
    # A repeated request has to carry the tags of the first one.
    enrolments = registry.enrolments(person)
    return [each.tag for each in enrolments if each.campaign_id == enrolments[-1].campaign_id]
