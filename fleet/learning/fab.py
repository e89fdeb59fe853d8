"""Stub app of a learning job.

A Flower App Bundle that holds no code: its components name what is installed on both sides, so the same version of
reram-fleet must be installed there, and no code travels to a node.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

# `module:attribute` of what a run executes. Flower checks both where a run is submitted.
SERVER_APP = "fleet.learning.server_app:app"
CLIENT_APP = "edge_node.agent.client_app:app"

# Keys of the run configuration. Flower refuses a key that the app does not declare.
JOB_ID = "job-id"
ATTEMPT = "attempt"
COORDINATOR = "coordinator"
CA_FILE = "ca-file"
TOKEN_FILE = "token-file"

_PYPROJECT = f"""\
[project]
name = "reram-fleet-job"
version = "{version("reram-fleet")}"
description = "One learning job of reram-fleet: a pointer to what is installed"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "reram-fleet"

[tool.flwr.app.components]
serverapp = "{SERVER_APP}"
clientapp = "{CLIENT_APP}"

[tool.flwr.app.config]
{JOB_ID} = ""
{ATTEMPT} = 0
{COORDINATOR} = ""
{CA_FILE} = ""
{TOKEN_FILE} = ""
"""


def write_app(folder: Path) -> Path:
    """Write the stub app into a folder, created if it does not exist, and return the folder."""
    write_atomically(folder / "pyproject.toml", _PYPROJECT.encode())
    return folder
