"""`fleet serve`: the coordinator, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from reram_fleet.code_ranges import CodeRange
from reram_fleet.processes.command_line import folder
from reram_fleet.processes.loading import loading_for_good
from reram_fleet.tasks import TaskPluginError, code_range

from fleet.cli.certificate import read_key
from fleet.cli.exits import UsageError
from fleet.cli.output import note
from fleet.cli.session import session
from fleet.config import FIELD_LEASE_S, LOST_AFTER_S, METRICS_PORT, ServeSettings, default_coordinator_state


def serve(
    ctx: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option(
            parser=folder, metavar="DIR", help="Folder of the database, keys and token.", show_default="per user"
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="postgresql://USER@HOST/NAME, or sqlite:////PATH; without a password, which the process list would "
            "show: that stands in PGPASSFILE, or in FLEET_DATABASE.",
            show_default="fleet.db in the folder",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="HOST|unix:PATH", help="Address to bind, with TLS; or a Unix socket.")
    ] = "127.0.0.1",
    advertise: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="What nodes and clients connect to.", show_default="as bound"),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TLS certificate (PEM), with those that vouch for it.",
            show_default="made in the folder, by an authority of its own",
        ),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The authority that nodes and clients pin.", show_default="the last one of --tls-cert"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 takes a free one.")] = 0,
    flower_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port through which nodes reach the SuperLink; 0 takes a free one.")
    ] = 0,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /metrics, /healthz, /readyz and /sd; 0 takes a free one.")
    ] = METRICS_PORT,
    lease_seconds: Annotated[
        float, typer.Option(help="How long a node out of contact goes on serving adapters.")
    ] = FIELD_LEASE_S,
    lost_after_seconds: Annotated[
        float, typer.Option(help="How long forgets wait for a node out of contact; longer than a lease.")
    ] = LOST_AFTER_S,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="No learning plane.")] = False,
    flower_attach: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Use this SuperLink instead of an embedded one.")
    ] = None,
    flower_ca: Annotated[Path | None, typer.Option(help="CA certificate (PEM) of that SuperLink.")] = None,
    learning_folder: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            metavar="DIR",
            help="For a SuperLink under another user: learning.token and ca.pem, which its ServerApps read here.",
            show_default="this coordinator's own files",
        ),
    ] = None,
    learning_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where those ServerApps call this coordinator.", show_default="as nodes"
        ),
    ] = None,
    registry_key: Annotated[
        str | None,
        typer.Option(
            metavar="HEX|FILE",
            help="Public key of the registry that signs enrolment tickets (`fleet registry key` prints it). "
            "Kept once it was given; without one nobody can be enrolled.",
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="What the fleet's nodes recognise or generate.")] = "speakers",
    code_range: Annotated[
        str | None,
        typer.Option(
            metavar="FEATURES:MAX",
            help="Codes of one sample, and the largest of them, of a task that is not installed here.",
        ),
    ] = None,
    tags_per_node: Annotated[int, typer.Option(min=1, help="People that one node may contribute.")] = 256,
) -> None:
    """Run the coordinator until SIGTERM or Ctrl-C."""
    settings = ServeSettings(
        state=(state or default_coordinator_state()).absolute(),
        database=database_address(ctx, database),
        host=host,
        advertise=advertise,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        port=port,
        flower_port=flower_port,
        metrics_port=metrics_port,
        lease_s=lease_seconds,
        lost_after_s=lost_after_seconds,
        learning=not no_flower,
        flower_attach=flower_attach,
        flower_ca=flower_ca,
        learning_folder=learning_folder,
        learning_address=learning_address,
        task=task,
        codes=_codes(task, code_range),
        registry_key=read_key("--registry-key", registry_key, "`fleet registry key`") if registry_key else b"",
        tags_per_node=tags_per_node,
    )
    # The database loads with it: half a second that no other verb has to pay.
    with loading_for_good():
        from fleet.coordinator.serve import run

    note(f"Coordinator starting in {settings.state}; Ctrl-C ends it.")
    run(settings)


def database_address(ctx: typer.Context, given: str | None) -> str | None:
    """Return the address of the database that a flag, the environment or the context names."""
    if given is not None and (urlsplit(given).password is not None or "password=" in given):
        raise UsageError(
            "everybody on this machine can read a password on the command line",
            hint="name a file of passwords by PGPASSFILE, or put the address into FLEET_DATABASE",
        )
    return given or session(ctx).context().database


def _codes(task: str, given: str | None) -> CodeRange:
    if given is None:
        try:
            return code_range(task)
        except TaskPluginError as error:
            raise UsageError(
                str(error),
                hint="--code-range FEATURES:MAX says what the codes of a task are that is not installed here",
            ) from error
    features, _, code_max = given.partition(":")
    if not (features.isdecimal() and code_max.isdecimal() and int(features) and 0 < int(code_max) < 2**31):
        raise UsageError(f"--code-range takes FEATURES:MAX, for instance 1024:65535; got {given!r}")
    return CodeRange(int(features), int(code_max))
