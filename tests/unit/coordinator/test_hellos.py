"""Hellos: the first message of a stream, taken or refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import signing
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.nodes.report_checks import ReportError
from fleet.errors import NotFoundError
from tests.device import Device
from tests.unit.coordinator.small_fleet import (
    NO_KEYS,
)

NONCE = bytes(range(32))


def hello(node, key=None, **changes):
    """Return a node's hello, with changes, and perhaps signed by another."""
    genuine, *_ = node.receive(wire.ConnectResponse(challenge=wire.Challenge(nonce=NONCE)))
    message = wire.Hello.FromString(genuine.hello.payload)
    for name, value in changes.items():
        setattr(message, name, value)
    return ConnectRequest(hello=signing.sign(key or node.signing_key, message))


def test_signed_answer_to_the_challenge_opens_a_session(coordinator, nodes):
    assert coordinator.welcome(hello(nodes[0]), NONCE).node_id == "node-1"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"challenge_nonce": b"old" * 8}, "answers another challenge", id="old challenge"),
        pytest.param({"fleet_id": "other"}, "belongs to fleet other", id="other fleet"),
        pytest.param({"log_head": b"\1" * 32}, "another entry of generation 0", id="other log"),
    ],
)
def test_hello_that_contradicts_the_coordinator_is_refused(coordinator, nodes, changes, error):
    with pytest.raises(ReportError, match=error):
        coordinator.welcome(hello(nodes[0], **changes), NONCE)


def test_hello_signed_by_another_key_is_refused(coordinator, nodes):
    with pytest.raises(SignatureError):
        coordinator.welcome(hello(nodes[0], Ed25519PrivateKey.generate()), NONCE)
    with pytest.raises(SignatureError):
        coordinator.welcome(hello(nodes[0], nodes[1].signing_key), NONCE)


def test_hello_of_a_node_that_was_never_enrolled_is_refused(coordinator, nodes):
    stranger = Device("node-9")
    stranger.join(nodes[0].enrollment)
    with pytest.raises(NotFoundError, match="node-9"):
        coordinator.welcome(hello(stranger), NONCE)


def test_hello_of_a_retired_node_is_refused(coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.tx.nodes.retire("node-1", "lost")
    with pytest.raises(ReportError, match="retired"):
        coordinator.welcome(hello(nodes[0]), NONCE)


@pytest.mark.parametrize("session_key", NO_KEYS)
def test_hello_with_a_session_key_that_nothing_can_be_sealed_to_is_refused(coordinator, nodes, session_key):
    before = coordinator.coordinator.env.sessions.of("node-1").session_key
    with pytest.raises(ReportError, match=r"session key of node node-1 .* X25519"):
        coordinator.welcome(hello(nodes[0], session_public_key=session_key), NONCE)
    assert coordinator.coordinator.env.sessions.of("node-1").session_key == before


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ConnectRequest(), id="empty"),
        pytest.param(ConnectRequest(heartbeat=wire.Heartbeat()), id="heartbeat"),
        pytest.param(ConnectRequest(hello=types.Envelope(payload=b"\xff")), id="not a hello"),
    ],
)
def test_stream_that_does_not_begin_with_a_hello_is_refused(coordinator, nodes, first):
    with pytest.raises(ReportError, match="opened by a signed hello"):
        coordinator.welcome(first, NONCE)
