from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from reram_fleet.crypto import sealing
from reram_fleet.processes import flower
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.client_app import RoundRefusedError, app
from edge_node.agent.node import Node
from edge_node.agent.service import EngineService, serve
from edge_node.testing import FakeCoordinator

KEY = sealing.new_key()
STATE = types.LoraState(rank=1, rows=b"1234", row_weights=b"5678")


@pytest.fixture
def context(node: Node, tmp_path: Path) -> Iterator[Context]:
    """What a SuperNode gives to the ClientApp, with a real EngineService behind it."""
    service = EngineService(node, connected=lambda: False, supernode=lambda: "disabled", changed=lambda: None)
    server, address = serve(service, "token", tmp_path / "engine.sock")
    (tmp_path / "engine.token").write_text("token")
    node_config = {flower.ENGINE_ADDRESS_KEY: address, flower.ENGINE_TOKEN_FILE_KEY: str(tmp_path / "engine.token")}
    yield Context(run_id=1, node_id=7, node_config=node_config, state=RecordDict(), run_config={})
    server.stop(grace=None).wait()


def request(kind: str, ticket: types.Envelope) -> Message:
    purpose = sealing.state_purpose("job-1")
    sealed = sealing.seal_symmetric(KEY, purpose, STATE.SerializeToString())
    record = ConfigRecord({flower.STATE_KEY: sealed, flower.TICKET_KEY: ticket.SerializeToString()})
    message = Message(RecordDict({flower.STATE_RECORD: record}), dst_node_id=7, message_type=kind)
    message.metadata.__dict__["_message_id"] = "m"
    return message


@pytest.fixture
def flower_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages inside a task only; its processes set this."""
    from flwr.supercore.task_identity import TaskIdentity

    for name, value in {"run_id": 1, "task_id": 1, "node_id": 7}.items():
        monkeypatch.setattr(TaskIdentity, f"_{name}", value)


@pytest.mark.usefixtures("flower_task")
@pytest.mark.parametrize("kind", sorted(flower.MESSAGE_TYPES))
def test_each_kind_of_job_carries_the_sealed_state_to_the_engine_and_back(
    node: Node, coordinator: FakeCoordinator, context: Context, kind: types.LearningKind
) -> None:
    ticket = coordinator.ticket(node.context.keys.identity, node.session_public_key, KEY, kind=kind)
    reply = app(request(flower.MESSAGE_TYPES[kind], ticket), context)
    record = reply.content.config_records[flower.STATE_RECORD]
    assert record[flower.NODE_ID_KEY] == "node-1"
    opened = sealing.open_symmetric(KEY, sealing.state_purpose("job-1"), record[flower.STATE_KEY])
    assert types.LoraState.FromString(opened) == STATE
    assert reply.content.metric_records["metrics"]["num-examples"] == 0


@pytest.mark.usefixtures("flower_task")
def test_a_refusal_of_the_engine_reaches_flower_as_an_error(
    node: Node, coordinator: FakeCoordinator, context: Context
) -> None:
    stale = coordinator.ticket(node.context.keys.identity, node.session_public_key, KEY, generation=5)
    with pytest.raises(RoundRefusedError, match="generation 5; this node is at 0") as refused:
        app(request("train.lora", stale), context)
    assert isinstance(refused.value.__cause__, grpc.RpcError)
