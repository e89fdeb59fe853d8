"""Flower ClientApp of a node: carries a round to the engine and its result back.

A thin client. It imports neither torch nor the model, since Flower starts one process per message and the
import alone would cost 2 CPU-seconds and 150 MB each time. What it carries is sealed under the job's key; it
cannot read it.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from reram_fleet.processes import flower
from reram_fleet.processes.hardening import keep_memory_private
from reram_fleet.v1.engine_pb2 import RunRoundRequest, RunRoundResponse
from reram_fleet.v1.engine_pb2_grpc import EngineServiceStub
from reram_fleet.v1.types_pb2 import Envelope

METRICS_RECORD = "metrics"
#: A round computes for seconds; longer means that the engine hangs.
ROUND_LIMIT_S = 120.0

app = ClientApp()


class RoundRefusedError(RuntimeError):
    """The engine did not run the round; Flower reports it to the ServerApp as an error reply."""


@app.train("lora")
def train_lora(message: Message, context: Context) -> Message:
    """Answer `train.lora`."""
    return _run_round(message, context)


@app.train("unlearn")
def train_unlearn(message: Message, context: Context) -> Message:
    """Answer `train.unlearn`."""
    return _run_round(message, context)


@app.evaluate("quality")
def evaluate_quality(message: Message, context: Context) -> Message:
    """Answer `evaluate.quality`."""
    return _run_round(message, context)


def _run_round(message: Message, context: Context) -> Message:
    keep_memory_private()
    record = message.content.config_records[flower.STATE_RECORD]
    request = RunRoundRequest(
        ticket=Envelope.FromString(record[flower.TICKET_KEY]), sealed_state=record[flower.STATE_KEY]
    )
    address = str(context.node_config[flower.ENGINE_ADDRESS_KEY])
    token = Path(str(context.node_config[flower.ENGINE_TOKEN_FILE_KEY])).read_text().strip()
    response = call_engine(address, token, request)
    reply = RecordDict(
        {
            flower.STATE_RECORD: ConfigRecord(
                {flower.STATE_KEY: response.sealed_state, flower.NODE_ID_KEY: response.node_id}
            ),
            METRICS_RECORD: MetricRecord({**response.metrics, "num-examples": response.num_examples}),
        }
    )
    return Message(reply, reply_to=message)


def call_engine(address: str, token: str, request: RunRoundRequest) -> RunRoundResponse:
    """Run one round on the engine at a loopback address.

    Raises
    ------
    RoundRefusedError
        If the engine refuses the round or does not answer; says why.
    """
    # A proxy set in the environment must not see the loopback interface.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return EngineServiceStub(channel).RunRound(
                request, timeout=ROUND_LIMIT_S, metadata=[("authorization", f"Bearer {token}")]
            )
        except grpc.RpcError as error:
            raise RoundRefusedError(
                f"the engine at {address} refused: {error.code().name}: {error.details()}"
            ) from error
