"""Options of verbs that list: a page of what may be thousands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleet.cli.output import note

#: Entries that are shown unless more are asked for.
LIMIT = 50

Limit = Annotated[int, typer.Option(min=1, help="Show at most so many.")]
All = Annotated[bool, typer.Option("--all", help="Show all of them, however many there are.")]
After = Annotated[str, typer.Option(metavar="TOKEN", help="Go on where a page ended: its `next_page_token`.")]


def at_most(limit: int, *, everything: bool) -> int | None:
    """Return how many to ask for; None: all."""
    return None if everything else limit


def paged(items: list[dict[str, Any]], next_token: str) -> dict[str, Any]:
    """Return the fields of a document that lists a page."""
    return {"items": items, "next_page_token": next_token or None}


def note_more(shown: int, noun: str, next_token: str) -> None:
    """Say that there are more than what is shown, and how to see them."""
    if next_token:
        note(f"The first {shown} {noun}: --all shows every one, --after {next_token} the next.")
