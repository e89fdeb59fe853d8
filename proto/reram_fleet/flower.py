"""Names of the learning plane that ServerApp, ClientApp and their hosts share."""

from __future__ import annotations

from reram_fleet.v1 import types_pb2 as types

#: Set in every process of Flower that we start: no telemetry, no update check, no installs, no network.
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}

#: Flower message type of each kind of learning job.
MESSAGE_TYPES = {
    types.LEARNING_KIND_TRAIN_LORA: "train.lora",
    types.LEARNING_KIND_UNLEARN_LORA: "train.unlearn",
    types.LEARNING_KIND_EVALUATE_QUALITY: "evaluate.quality",
}

# Records and keys inside a message. The state is sealed: Flower's database keeps what it
# transports in its WAL after the run is over.
STATE_RECORD = "sealed-state"
STATE_KEY = "state"
TICKET_KEY = "ticket"
NODE_ID_KEY = "node-id"

# Keys of `--node-config`, set by the node daemon for its SuperNode.
ENGINE_ADDRESS_KEY = "engine-address"
ENGINE_TOKEN_FILE_KEY = "engine-token-file"
