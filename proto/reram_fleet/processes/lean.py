"""Programs of Flower, started without what else their packages import.

`flower-superexec` runs beside each SuperLink and SuperNode, `flwr-clientapp` starts for each message to a node: both
import other programs of their package, a SuperNode with its database among them, that they do not run.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

#: Package of each program, and its function, in a module of that name: Flower's entry points take it from the package.
PROGRAMS = {
    "flower-superexec": ("flwr.supercore.cli", "flower_superexec"),
    "flwr-clientapp": ("flwr.supernode.cli", "flwr_clientapp"),
}
#: What Linux reads of a first line.
_FIRST_LINE = 127


def write_programs(folder: Path) -> None:
    """Write the programs into a folder for PATH; none if this interpreter cannot be named in a first line."""
    first_line = f"#!{sys.executable}"
    if len(first_line) > _FIRST_LINE or " " in first_line:
        return
    for name in PROGRAMS:
        content = f"{first_line}\nfrom {__name__} import main\n\nmain({name!r})\n".encode()
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content, mode=0o700)


def main(name: str) -> None:
    """Run a program, and exit as it does."""
    package, function = PROGRAMS[name]
    spec = find_spec(package)
    assert spec is not None, f"{name} is started by a process of Flower"
    # The package as such, without its __init__.
    sys.modules[package] = module_from_spec(spec)
    sys.exit(getattr(import_module(f"{package}.{function}"), function)())
