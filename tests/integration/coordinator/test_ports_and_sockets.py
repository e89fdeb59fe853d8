"""Ports and sockets of a served coordinator: TLS on every port, a Unix socket instead, and certificates that change."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from reram_fleet.processes.channel import open_channel
from reram_fleet.v1 import operator_pb2
from reram_fleet.v1.operator_pb2_grpc import OperatorServiceStub

from fleet.client import FleetClient, UntrustedServerError
from fleet.trust.tls import Authority
from tests.device import Device
from tests.integration.coordinator.coordinator_process import CoordinatorProcess
from tests.tls import issued


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a private folder with a short path, which a socket needs."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., CoordinatorProcess]]:
    """Start a coordinator with some options; it is ended with the test."""
    started: list[CoordinatorProcess] = []

    def one(*options: str) -> CoordinatorProcess:
        started.append(CoordinatorProcess(folder / "state", options=options))
        started[-1].start()
        return started[-1]

    yield one
    for process in started:
        process.kill()


def served(coordinator: CoordinatorProcess) -> dict[str, object]:
    return json.loads((coordinator.state / "serve.json").read_text())


def shown(coordinator: CoordinatorProcess) -> str:
    """Return the certificate that a new connection sees."""
    host, _, port = coordinator.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_on_a_socket_it_serves_operators_and_nodes_without_a_port(start, folder, open_stream):
    coordinator = start("--host", f"unix:{folder}/serve.sock")
    token_file = coordinator.state / "keys" / "operator.token"
    node = Device("node-1")
    with FleetClient.from_files(coordinator.address, token_file, None) as client:
        answer = client.enroll_node(node.identity)
        assert (answer.node_service_address, answer.coordinator_ca_pem) == (f"unix:{folder}/serve.sock", "")
        node.join(answer)
        open_stream(open_channel(answer.node_service_address, b""), node).wait_heard("lease")
        assert client.get_node("node-1").node.connected
    assert served(coordinator)["ca_file"] is None
    assert not (coordinator.state / "serve.port").exists()


def test_a_given_certificate_is_shown_and_one_that_replaces_it_too(start, folder):
    files, authority = issued(folder)
    coordinator = start("--tls-cert", str(files.certificate_path), "--tls-key", str(files.key_path))
    assert (coordinator.state / "ca.pem").read_bytes() == authority.pem
    assert files.certificate_path.read_text().startswith(shown(coordinator))
    authority.issue(files, "renewed", ["127.0.0.1"])
    assert files.certificate_path.read_text().startswith(shown(coordinator))
    # A mistake of whoever renews it: clients go on trusting the one before.
    before = shown(coordinator)
    Authority.new("another").issue(files, "mistaken", ["127.0.0.1"])
    assert shown(coordinator) == before
    with coordinator.client() as client:
        assert client.get_fleet().fleet_id


def test_a_restart_shows_the_same_certificate(start):
    coordinator = start()
    before = shown(coordinator)
    coordinator.kill()
    coordinator.start()
    assert shown(coordinator) == before


def test_neither_a_plain_caller_nor_one_who_trusts_another_is_answered(start, folder):
    coordinator = start()
    with grpc.insecure_channel(coordinator.address) as channel, pytest.raises(grpc.RpcError) as plain:
        OperatorServiceStub(channel).GetFleet(operator_pb2.GetFleetRequest(), timeout=30)
    assert plain.value.code() is grpc.StatusCode.UNAVAILABLE
    stranger = folder / "stranger.pem"
    stranger.write_bytes(Authority.new("another").pem)
    token_file = coordinator.state / "keys" / "operator.token"
    with (
        FleetClient.from_files(coordinator.address, token_file, stranger) as client,
        pytest.raises(UntrustedServerError, match="no token was sent"),
    ):
        client.get_fleet()


def test_beyond_loopback_nodes_get_the_advertised_name_and_metrics_have_tls(start):
    coordinator = start("--host", "0.0.0.0", "--advertise", "localhost")
    port = coordinator.address.removeprefix("localhost:")
    assert port.isdecimal()
    coordinator.enroll(Device("node-1"))
    _, _, metrics_port = str(served(coordinator)["metrics_address"]).rpartition(":")
    trusted = ssl.create_default_context(cafile=str(coordinator.state / "ca.pem"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
    with opener.open(f"https://localhost:{metrics_port}/metrics", timeout=30) as response:
        assert b"fleet_nodes" in response.read()
    with pytest.raises(ConnectionError):
        opener.open(f"http://localhost:{metrics_port}/metrics", timeout=30)
