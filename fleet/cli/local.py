"""`fleet up` and `fleet down`: a fleet on this machine, left running in the background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from reram_fleet.processes.command_line import EXTRA_MODULES, FiniteRange, folder, require

from fleet.cli.output import Format, OutputFormat, facts, hint, note, records, show
from fleet.config import (
    LAST_METRICS_PORT,
    LOCAL_LEASE_S,
    METRICS_PORT,
    PROMETHEUS_PORT,
    Context,
    config_path,
    default_state,
    load_config,
    save_config,
)
from fleet.documents import document

#: Name of the context that `fleet up` writes; `fleet down` leaves its registry in it.
CONTEXT = "local"

StateFolder = Annotated[
    Path | None,
    typer.Option("--state", parser=folder, metavar="DIR", help="Folder of the fleet.", show_default="per user"),
]


def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Node daemons.")] = 4,
    state: StateFolder = None,
    task: Annotated[
        str, typer.Option(help="What the nodes recognise (speakers, faces, fsdd, ...) or generate (images).")
    ] = "speakers",
    preset: Annotated[str, typer.Option(help="Chip technology, see `fleet chip presets`.")] = "180nm-1t1r",
    lease_seconds: Annotated[
        float, typer.Option(help="How long a node out of contact goes on serving adapters.")
    ] = LOCAL_LEASE_S,
    no_flower: Annotated[bool, typer.Option("--no-flower", help="No learning plane.")] = False,
    metrics_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=LAST_METRICS_PORT,
            help="Metrics port of the coordinator; nodes have those that follow; 0: free ones.",
        ),
    ] = METRICS_PORT,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="A Prometheus that scrapes the fleet.")] = False,
    prometheus_port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: a free one.")] = PROMETHEUS_PORT,
    timeout: Annotated[
        float, typer.Option(click_type=FiniteRange(min=1), help="Seconds to wait until every node serves.")
    ] = 180.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Start a coordinator and node daemons on this machine; they go on running."""
    require(sorted(EXTRA_MODULES - {"matplotlib"}))
    from fleet.local.fleet import LocalSettings, absence
    from fleet.local.node import prepare_task
    from fleet.local.supervisor import start_background

    settings = LocalSettings(
        state=(state or default_state()).absolute(),
        nodes=nodes,
        lease_s=lease_seconds,
        learning=not no_flower,
        task=task,
        preset=preset,
        metrics_port=metrics_port,
        prometheus_port=prometheus_port if prometheus else None,
    )
    # Before minutes are spent on what this folder has no use for.
    settings.check_folder()
    prepare_task(task)
    note(f"Starting a coordinator and {nodes} node{'s' if nodes > 1 else ''} in {settings.state} ...")
    running = start_background(settings, timeout)
    context = Context(state=settings.layout.coordinator, registry=settings.layout.registry)
    path = config_path()
    save_config(path, load_config(path).with_context(CONTEXT, context))
    if running.absent:
        note(absence(running.absent))
    body = {
        "state": str(settings.state),
        "pid": running.pid,
        "coordinator": running.address,
        "coordinator_metrics": running.metrics_address,
        "prometheus": running.prometheus or None,
        "nodes": running.nodes,
        "absent": running.absent,
    }
    show(
        form,
        document("LocalFleet", **body),
        lambda: [
            facts(
                "Fleet on this machine",
                {
                    "folder": body["state"],
                    "coordinator": running.address,
                    "metrics": f"http://{running.metrics_address}/metrics, /metrics/nodes, /healthz, /readyz, /sd",
                    **({"Prometheus": f"http://{running.prometheus}"} if running.prometheus else {}),
                    "supervisor": f"process {running.pid}",
                },
            ),
            records(
                "Nodes",
                {"node": "node_id", "engine": "engine_address", "metrics": "metrics_address"},
                running.nodes,
            ),
        ],
    )
    if running.prometheus:
        note(
            f"To look at: http://{running.prometheus}/alerts, and all boards as one page, drawn anew each time: "
            f"fleet report dashboard --prometheus http://{running.prometheus} --output dashboard.html"
        )
    hint("fleet status; fleet doctor; fleet down ends it")


def down(
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            parser=folder,
            metavar="DIR",
            help="Folder of the fleet.",
            show_default="that of the last `fleet up`",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(click_type=FiniteRange(min=0), help="Seconds to wait until all of it has ended.")
    ] = 60.0,
) -> None:
    """End the fleet on this machine; its folder stays."""
    from fleet.local.supervisor import stop_background

    path = config_path()
    config = load_config(path)
    context = config.contexts.get(CONTEXT)
    last = None if context is None or context.state is None else context.state.parent
    root = (state or last or default_state()).absolute()
    stop_background(root, timeout)
    if last == root and context is not None:
        # The registry stays in force: who is behind which tag does not end with the coordinator.
        save_config(path, config.with_context(CONTEXT, replace(context, state=None)))
    note(f"The fleet in {root} has ended.")
