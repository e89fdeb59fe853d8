"""Confirmation of what cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fleet.cli.exits import UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: this cannot be undone.")]


def confirm(what: str, question: str, yes: bool) -> None:
    """Ask, unless `yes`; a "no" ends the command, and so does a `UsageError` where there is no terminal to ask at.

    That error says what it is about, for instance "forgetting s07".
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what} cannot be undone, and there is no terminal to ask at", hint="add --yes")
    typer.confirm(f"{question} This cannot be undone.", abort=True, err=True)
