"""Names of the learning plane that ServerApp, ClientApp and their hosts share."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sys
from pathlib import Path

from reram_fleet.errors import FleetError
from reram_fleet.processes.lean import write_programs
from reram_fleet.v1 import types_pb2 as types

#: Set in every process of Flower that we start: no telemetry, no update check, no installs, no network.
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}

#: Flower message type of each kind of learning job that a node sees. Rounds of a cohort travel as `train.lora`: a node
#: trains whomever a ticket names.
MESSAGE_TYPES = {
    types.LEARNING_KIND_TRAIN_LORA: "train.lora",
    types.LEARNING_KIND_UNLEARN_LORA: "train.unlearn",
    types.LEARNING_KIND_EVALUATE_QUALITY: "evaluate.quality",
}

#: Program that SuperLink and SuperNode start to run apps, and go on without when it has ended, of a full disk for one.
SUPEREXEC = "flower-superexec"

# Records and keys inside a message. The state is sealed: Flower's database keeps what it transports in its WAL after
# the run is over.
STATE_RECORD = "sealed-state"
STATE_KEY = "state"
TICKET_KEY = "ticket"
NODE_ID_KEY = "node-id"

# Keys of `--node-config`, set by the node daemon for its SuperNode.
ENGINE_ADDRESS_KEY = "engine-address"
ENGINE_TOKEN_FILE_KEY = "engine-token-file"


def process_environment(home: Path) -> dict[str, str]:
    """Return what every process of Flower that we start gets, on top of our own environment.

    `home` becomes FLWR_HOME: a folder of this SuperLink or SuperNode alone, which gets programs (`lean`). Flower starts
    its helpers (`flower-superexec`, `flwr-serverapp`, `flwr-clientapp`) by name: these, and the folder of this
    interpreter, go in front of PATH, so that it finds its own version of them. A proxy for the outside must never see
    what stays on the loopback interface.
    """
    write_programs(home / "bin")
    loopback = ["127.0.0.1", "localhost"]
    no_proxy = ",".join([*filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy")]), *loopback])
    return {
        **ENVIRONMENT,
        "FLWR_HOME": str(home),
        "PATH": os.pathsep.join(
            [str(home / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        ),
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def free_port(ports: range) -> int:
    """Return a random port of a range that nobody on this machine listens on now.

    A range below Linux's ephemeral ports (32768): while a server that keeps its port is down, no outgoing connection of
    another process may take it.
    """
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise FleetError(f"no port is free between {ports.start} and {ports.stop}")


def program(name: str) -> str:
    """Return the path of a program of Flower that belongs to this interpreter.

    `FileNotFoundError` if Flower is not installed beside it.
    """
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        raise FileNotFoundError(
            f"{name} is not installed beside {sys.executable}: install reram-fleet with the extra "
            "`coordinator` or `node`"
        )
    return path
