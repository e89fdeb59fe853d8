"""Flower ClientApp of a node: carries a round to the engine and its result back.

A thin client. It imports neither torch nor the model, since Flower starts one process per message and the import alone
would cost 2 CPU-seconds and 150 MB each time. What it carries is sealed under the job's key; it cannot read it.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from reram_fleet.processes import flower
from reram_fleet.processes.hardening import keep_memory_private
from reram_fleet.processes.token_client import TokenClient
from reram_fleet.v1.engine_pb2 import RunRoundRequest, RunRoundResponse
from reram_fleet.v1.engine_pb2_grpc import EngineServiceStub
from reram_fleet.v1.types_pb2 import Envelope

METRICS_RECORD = "metrics"
#: A round computes for seconds; longer means that the engine hangs.
ROUND_LIMIT_S = 120.0

app = ClientApp()


class RoundRefusedError(RuntimeError):
    """Refusal of the engine to run a round; Flower reports it to the ServerApp as an error reply."""


@app.train("lora")
@app.train("unlearn")
@app.evaluate("quality")
def run_round(message: Message, context: Context) -> Message:
    """Answer `train.lora`, `train.unlearn` and `evaluate.quality`."""
    keep_memory_private()
    address = str(context.node_config[flower.ENGINE_ADDRESS_KEY])
    token = Path(str(context.node_config[flower.ENGINE_TOKEN_FILE_KEY])).read_text().strip()
    return reply_to(message, call_engine(address, token, request_of(message)))


def request_of(message: Message) -> RunRoundRequest:
    """Return the round that a message carries; `RoundRefusedError` if it carries none."""
    record = message.content.config_records.get(flower.STATE_RECORD, ConfigRecord())
    ticket, sealed_state = record.get(flower.TICKET_KEY), record.get(flower.STATE_KEY)
    if not isinstance(ticket, bytes) or not isinstance(sealed_state, bytes):
        raise RoundRefusedError("a message of this job carries no ticket and sealed state as bytes")
    return RunRoundRequest(ticket=Envelope.FromString(ticket), sealed_state=sealed_state)


def reply_to(message: Message, response: RunRoundResponse) -> Message:
    """Return the reply that carries what an engine answered."""
    state = ConfigRecord({flower.STATE_KEY: response.sealed_state, flower.NODE_ID_KEY: response.node_id})
    metrics = MetricRecord({**response.metrics, "num-examples": response.num_examples})
    return Message(RecordDict({flower.STATE_RECORD: state, METRICS_RECORD: metrics}), reply_to=message)


def call_engine(address: str, token: str, request: RunRoundRequest) -> RunRoundResponse:
    """Run one round on the engine at an address.

    `RoundRefusedError` if the engine refuses the round or does not answer; says why.
    """
    with TokenClient(address, token, EngineServiceStub) as engine:
        try:
            return engine.call(engine.stub.RunRound, RunRoundResponse, request, ROUND_LIMIT_S)
        except grpc.RpcError as error:
            raise RoundRefusedError(
                f"the engine at {address} refused: {error.code().name}: {error.details()}"
            ) from error
