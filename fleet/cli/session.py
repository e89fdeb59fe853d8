"""Session of the CLI: the connection flags of one invocation, and what they lead to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import platformdirs
import typer

from fleet.config import Context, Overrides, config_path, connection, load_config, read_serve_file, resolve_context

if TYPE_CHECKING:
    from fleet.client import FleetClient
    from fleet.registry import Registry


@dataclass(frozen=True)
class Session:
    """Connection flags of one invocation."""

    overrides: Overrides

    def context(self) -> Context:
        """Return the settings in force."""
        return resolve_context(load_config(config_path()), self.overrides, os.environ)

    def client(self) -> FleetClient:
        """Open a connection to the coordinator."""
        from fleet.client import FleetClient

        target = connection(self.context())
        return FleetClient.from_files(target.address, target.token_file, target.ca_file)

    def fleet_id(self) -> str:
        """Return the id of the fleet: as its coordinator wrote it down on this machine, else asked of it."""
        context = self.context()
        if context.state is not None:
            return read_serve_file(context.state).fleet_id
        with self.client() as client:
            return client.get_fleet().fleet_id

    def registry(self) -> Registry:
        """Return the caller's registry of people."""
        from fleet.registry import Registry

        context = self.context()
        return Registry(context.registry or platformdirs.user_data_path("reram-fleet") / "registry.json")


def session(ctx: typer.Context) -> Session:
    """Return the session that the root command made."""
    found = ctx.find_object(Session)
    assert found is not None, "the root callback makes the session before any verb runs"
    return found
