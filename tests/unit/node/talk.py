"""Messages to a node under test, and what is read from its answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from reram_fleet.crypto import signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from edge_node.agent.node import Node
from edge_node.testing import FakeCoordinator

Samples = Callable[..., list[np.ndarray]]
Restart = Callable[[], Node]


def only(answers: list[ConnectRequest], kind: str) -> list[object]:
    return [getattr(answer, kind) for answer in answers if answer.WhichOneof("message") == kind]


def grant(node: Node, coordinator: FakeCoordinator, **lease: float) -> list[ConnectRequest]:
    """One heartbeat and the lease that answers it; returns all that the node said."""
    said = node.heartbeat()
    (heartbeat,) = only(said, "heartbeat")
    return said + node.receive(coordinator.lease(node.node_id, heartbeat.lease_nonce, **lease))


def reason(node: Node) -> str:
    return types.QuarantineReason.Name(node.serve_status()[1]).removeprefix("QUARANTINE_REASON_")


def serves(node: Node) -> bool:
    return node.serve_status()[0] == types.SERVE_STATE_SERVING


def adapter(tag: str, voice: int) -> types.SubjectAdapter:
    return types.SubjectAdapter(subject_tag=tag, count=1, code_sum=[4000 * (k == voice) for k in range(8)])


def receipt_of(answers: list[ConnectRequest], node: Node) -> types.Receipt:
    (envelope,) = only(answers, "receipt")
    return signing.open_envelope(envelope, types.Receipt, identity(node).receipt_public_key)


def identity(node: Node) -> types.NodeIdentity:
    return node.context.keys.identity


def forgotten_everywhere(node: Node, coordinator: FakeCoordinator, samples: Samples) -> tuple[str, str, str]:
    """A person in the revision and enrolled here, and a canary, are forgotten; the new revision is active."""
    kept, person, canary = new_tag(), new_tag(), new_tag()
    node.enroll(coordinator.consent(person), samples(1, 2))
    shape = types.LoraShape(features=8, rank=1, alpha=1.0)
    lora = types.SharedLora(shape=shape, rows=[types.LoraRow(subject_tag=tag, codes=[1]) for tag in (person, kept)])
    adapters = [adapter(kept, 0), adapter(person, 1), adapter(canary, 2)]
    node.receive(coordinator.revision(identity(node), 1, adapters, shared_lora=lora))
    coordinator.forget(person, canary)
    node.receive(coordinator.log_after(0))
    node.receive(coordinator.revision(identity(node), 2, [adapter(kept, 0)]))
    return kept, person, canary
