"""Logic takes time, randomness and keys from its ports: nothing in it asks the machine."""

from __future__ import annotations

import ast

import pytest

from tests.house import ROOT

#: What is logic; in a simulation all of it runs as it is.
LOGIC = (
    "fleet/coordinator/campaigns",
    "fleet/coordinator/learning",
    "fleet/coordinator/nodes",
    "fleet/coordinator/revisions",
    "fleet/domain",
    "fleet/trust",
    "fleet/store",
    "edge_node/agent",
    "edge_node/storage",
)
#: Rims of these rooms, which start threads, serve, and are the ports.
RIMS = {
    "edge_node/agent/context.py": "the clock of the machine",
    "edge_node/agent/link.py": "paces connections, in a thread",
    "edge_node/storage/keys.py": "makes the key files of a device",
    "fleet/store/commits.py": "names a process among the listeners of PostgreSQL",
    "fleet/store/database.py": "the clock of the machine",
    "fleet/trust/keys.py": "makes the key files of a coordinator",
    "fleet/trust/tls.py": "makes keys of servers, and dates their certificates",
}
MODULES = {"time", "random", "secrets", "uuid"}


def asked(tree: ast.Module) -> list[str]:
    """Return what a module asks the machine for, with its line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: {name.name}" for name in node.names if name.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found.append(f"{node.lineno}: {node.module}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("os.urandom", "PrivateKey.generate", "new_key", "datetime.now")
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("room", LOGIC)
def test_logic_asks_its_ports_and_not_the_machine(room: str) -> None:
    modules = [path for path in (ROOT / room).glob("*.py") if str(path.relative_to(ROOT)) not in RIMS]
    assert modules
    assert {path.name: found for path in modules if (found := asked(ast.parse(path.read_text())))} == {}


@pytest.mark.parametrize("rim", RIMS)
def test_a_rim_does(rim: str) -> None:
    """Or it is logic, and need not be left out."""
    assert asked(ast.parse((ROOT / rim).read_text()))
