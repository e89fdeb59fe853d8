"""A CLI that takes seconds to print its help is not used."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_cli_loads_neither_torch_nor_flwr_nor_sqlalchemy_nor_grpc():
    program = (
        "import sys, fleet.cli; "
        "print(sorted({'torch', 'flwr', 'sqlalchemy', 'grpc', 'numpy', 'edge_node'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
