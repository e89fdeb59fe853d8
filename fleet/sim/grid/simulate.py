"""Simulation of a Flower app: a ServerApp on nodes, by one of three engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fleet.sim.grid.apps import NodeApp
from fleet.sim.grid.vector_grid import CHUNK, VectorGrid

Config = Mapping[str, bool | float | int | str]


def simulate(
    server_app: ServerApp,
    app: NodeApp,
    nodes: int,
    *,
    engine: Literal["inline", "ray", "flower"] = "inline",
    chunk: int = CHUNK,
    actors: int = 2,
    run_config: Config | None = None,
    keep_replies: bool = True,
) -> None:
    """Run a ServerApp, unchanged, on simulated nodes.

    Parameters
    ----------
    engine
        `inline` runs chunks in this process, `ray` on Ray actors; `flower` is Flower's own simulation of the same app,
        one node at a time on Ray, for comparison. The latter two want the extra `ray`.
    actors
        Of Ray.
    run_config
        What the contexts of both apps say of the run.
    keep_replies
        Whether the ServerApp may look at a round's replies in the next round, which takes the memory of two rounds;
        Flower's strategies do not. Not of `flower`.
    """
    config = dict(run_config or {})
    if engine == "flower":
        from fleet.sim.grid.flower_adapter import run_flowers_simulation

        run_flowers_simulation(_configured(server_app, config), _OneNode(app, config), nodes, actors)
    elif engine == "ray":
        from fleet.sim.grid.ray_pool import RayPool

        with RayPool(app, actors=actors) as pool:
            _run(server_app, VectorGrid(pool, nodes, chunk=chunk, run_config=config, keep_replies=keep_replies), config)
    else:
        _run(server_app, VectorGrid(app, nodes, chunk=chunk, run_config=config, keep_replies=keep_replies), config)


def _run(server_app: ServerApp, grid: VectorGrid, config: Config) -> None:
    with grid:
        server_app(grid, _context(grid, config))


def _context(grid: Grid, config: Config) -> Context:
    return Context(run_id=grid.run.run_id, node_id=0, node_config={}, state=RecordDict(), run_config=dict(config))


def _configured(server_app: ServerApp, config: Config) -> ServerApp:
    """Return a ServerApp that runs another one with a configuration, which Flower's simulation gives to none."""
    configured = ServerApp()

    @configured.main()
    def main(grid: Grid, context: Context) -> None:
        server_app(grid, _context(grid, config))

    return configured


class _OneNode(ClientApp):
    """A `NodeApp` as the ClientApp of one node."""

    def __init__(self, app: NodeApp, config: Config) -> None:
        super().__init__()
        self._app, self._config = app, dict(config)

    def __call__(self, message: Message, context: Context) -> Message:
        context.run_config = self._config
        (reply,) = self._app([message], [context])
        return reply
