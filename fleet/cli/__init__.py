"""The operator's command line: `fleet <noun> <verb>`.

Importing it loads neither torch nor flwr nor sqlalchemy: each verb imports what it needs
when it runs. Data goes to stdout, progress, hints and errors to stderr; exit codes are in
`fleet.cli.exits`.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
import typer
from reram_fleet.processes.command_line import install_hint, missing_package, version_option
from reram_fleet.processes.hardening import keep_memory_private
from typer.core import TyperGroup

from fleet.cli import (
    admin,
    audit,
    certificate,
    doctor,
    energy,
    forget,
    learn,
    local,
    node,
    pki,
    registry,
    report,
    serve,
    status,
)
from fleet.cli.exits import ExitCode, UsageError, exit_code
from fleet.cli.output import note_console, show_error
from fleet.cli.session import Session
from fleet.config import Overrides
from fleet.errors import FleetError

#: Verbs that need the laboratory or the simulator, by the module whose `app` they are: no module here imports it.
BY_MODULE = {
    "demo": "fleet.lab.demo.cli",
    "people": "fleet.lab.demo.people_cli",
    "task": "fleet.lab.tasks.cli",
    "verify": "fleet.lab.verification.cli",
    "chip": "fleet.lab.chip.cli",
    "paper": "fleet.lab.paper.cli",
    "adapter": "fleet.lab.exchange.cli",
    "sim": "fleet.sim.cli",
}


class _FleetGroup(TyperGroup):
    """Turns expected errors into a message and an exit code; anything else keeps its traceback."""

    #: Extra that a verb needs; all others that need one need the physics.
    _EXTRAS: ClassVar = {"serve": "coordinator", "admin": "coordinator", "doctor": "coordinator"}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *BY_MODULE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BY_MODULE:
            return super().get_command(ctx, cmd_name)
        noun: typer.Typer = importlib.import_module(BY_MODULE[cmd_name]).app
        noun.suggest_commands = False
        command = typer.main.get_command(noun)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # click looks for similar names among the commands that it holds, which those by module are not.
            close = difflib.get_close_matches(args[0], BY_MODULE, n=1)
            if not close or getattr(error, "possibilities", None):
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", error.ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FleetError as error:
            show_error(error)
            raise typer.Exit(exit_code(error)) from error
        except ModuleNotFoundError as error:
            package = missing_package(error)
            if package is None:
                raise
            verb = ctx.invoked_subcommand or ""
            show_error(
                UsageError(
                    f"`fleet {verb}` needs {package}, which is not installed",
                    hint=install_hint(self._EXTRAS.get(verb, "sim")),
                )
            )
            raise typer.Exit(ExitCode.USAGE) from error
        except KeyboardInterrupt:
            note_console().print("Interrupted.", style="bold red")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


app = typer.Typer(
    name="fleet",
    cls=_FleetGroup,
    no_args_is_help=True,
    # click suggests by itself.
    suggest_commands=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Operate a fleet of edge devices that learn people and provably forget them.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 permission, 6 unavailable, "
    "7 wait timed out, 8 partial.",
)


@app.callback()
def fleet(
    ctx: typer.Context,
    context: Annotated[str | None, typer.Option(help="Context of the configuration file to use.")] = None,
    address: Annotated[str | None, typer.Option(help="host:port of the coordinator, or unix:PATH.")] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CA certificate (PEM) that vouches for the coordinator.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the operator token.")] = None,
    registry_file: Annotated[
        Path | None, typer.Option("--registry", help="The caller's map of people to tags.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=version_option("fleet"), help="Show the version and end."),
    ] = False,
) -> None:
    """Keep the connection flags for whichever verb runs."""
    ctx.obj = Session(Overrides(context, address, ca, token_file, registry_file))


app.command("up")(local.up)
app.command("down")(local.down)
app.command("status")(status.status)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
for noun in (node, learn, audit, forget, certificate, registry, energy, report, admin, pki):
    noun.app.suggest_commands = False
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])


def main() -> None:
    """Entry point of the `fleet` command."""
    # Tokens, names of people and, in the demo, their samples pass through.
    keep_memory_private()
    # gRPC, which is not loaded yet, would write its own line about every handshake that fails.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    app(prog_name="fleet")
    sys.exit(ExitCode.OK)
