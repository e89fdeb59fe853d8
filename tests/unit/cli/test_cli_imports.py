"""Imports of the operator's side: a CLI that takes seconds to print its help is not used."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import fleet

#: Packages of `fleet` that run the physics.
PHYSICS = ("fleet.lab", "fleet.sim")


def loaded(modules: list[str], heavy: set[str]) -> list[str]:
    """Return which of some packages are loaded when these modules are imported by a process of their own."""
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_cli_loads_none_of_the_heavy_libraries():
    heavy = {"torch", "flwr", "sqlalchemy", "grpc", "numpy", "matplotlib", "edge_node", "hwmodel"}
    assert loaded(["fleet.cli"], heavy) == []


def test_a_coordinator_loads_no_web_server_before_it_has_a_learning_plane_and_nothing_that_migrates():
    assert loaded(["fleet.coordinator.serve"], {"flwr", "uvicorn", "starlette", "httpx", "alembic"}) == []


def test_only_the_laboratory_and_the_simulator_load_the_physics():
    found = [module.name for module in pkgutil.walk_packages(fleet.__path__, "fleet.")]
    # Only Alembic can run its environment.
    modules = [name for name in found if not name.startswith((*PHYSICS, "fleet.store.migrations.env"))]
    assert {"fleet.cli.local", "fleet.coordinator.serve", "fleet.local.supervisor"} <= set(modules)
    assert loaded(modules, {"torch", "hwmodel", "edge_node"}) == []
