"""The node's own SuperNode: keyed, restarted for ever, ended with the daemon."""

from __future__ import annotations

import json

from reram_fleet.processes import flower
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.supervised import SupervisedProcess
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.config import StateFolder
from edge_node.errors import NodeError
from edge_node.storage.keys import NodeKeys

DISABLED = "disabled"
# The SuperNode keeps its port over restarts.
_PORTS = range(20_000, 32_000)


def supernode(
    folder: StateFolder, keys: NodeKeys, enrollment: EnrollNodeResponse, engine_address: str
) -> SupervisedProcess:
    """Return the supervised `flower-supernode` of this node, not started yet.

    After a SIGKILL the SuperLink takes the old one for online for up to a minute and the new one ends with code 305: it
    is started again until it is let in. `NodeError` if Flower is not installed.
    """
    folder.create()
    write_atomically(folder.flower_ca, enrollment.flower_ca_pem.encode())
    node_config = {
        flower.ENGINE_ADDRESS_KEY: engine_address,
        flower.ENGINE_TOKEN_FILE_KEY: str(folder.engine_token.resolve()),
    }
    # JSON strings are TOML basic strings. A file: on the command line, quotes in a path would be misread.
    toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in node_config.items())
    write_atomically(folder.supernode_config, toml.encode())
    try:
        program = flower.program("flower-supernode")
    except FileNotFoundError as error:
        raise NodeError(str(error)) from error
    return SupervisedProcess(
        name="flower-supernode",
        command=[
            program,
            "--superlink",
            enrollment.flower_fleet_address,
            "--root-certificates",
            str(folder.flower_ca.resolve()),
            "--auth-supernode-private-key",
            str(keys.flower_key_file.resolve()),
            "--node-config",
            str(folder.supernode_config.resolve()),
            "--port",
            str(flower.free_port(_PORTS)),
        ],
        log_path=folder.logs / "supernode.log",
        environment=flower.process_environment(folder.flower.resolve()),
    )
