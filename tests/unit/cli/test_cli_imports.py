"""A CLI that takes seconds to print its help is not used."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_cli_loads_none_of_the_heavy_libraries():
    program = (
        "import sys, fleet.cli; "
        "heavy = {'torch', 'flwr', 'sqlalchemy', 'grpc', 'numpy', 'matplotlib', 'edge_node', 'hwmodel'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
