"""`fleet report dashboard`, when there is nothing to draw."""

from __future__ import annotations

import socket

import pytest
from reram_fleet.processes.monitoring import json_page, serve_monitoring
from typer.testing import CliRunner

from fleet.cli import app
from fleet.cli.exits import ExitCode


def run(tmp_path, *arguments):
    return CliRunner().invoke(app, ["report", "dashboard", "--output", str(tmp_path / "page.html"), *arguments])


@pytest.fixture
def answering():
    """Serve one JSON answer for every query; returns the address."""
    servers = []

    def serve(content):
        page = json_page(lambda host: content)
        server, port = serve_monitoring("127.0.0.1", 0, {"/api/v1/query": page})
        servers.append(server)
        return f"http://127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_prometheus_that_is_away(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = run(tmp_path, "--prometheus", address)

    assert done.exit_code == ExitCode.UNAVAILABLE
    assert f"{address}/api/v1/query" in done.stderr
    assert "does not answer" in done.stderr
    assert "fleet up --prometheus" in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_prometheus_without_a_fleet(tmp_path, answering):
    done = run(tmp_path, "--prometheus", answering({"data": {"resultType": "vector", "result": []}}))

    assert done.exit_code == ExitCode.NOT_FOUND
    assert "has nothing of a fleet" in done.stderr


def test_something_else_than_a_prometheus(tmp_path, answering):
    done = run(tmp_path, "--prometheus", answering({"hello": "world"}))

    assert done.exit_code == ExitCode.NOT_FOUND
    assert "does not answer as a Prometheus does" in done.stderr


def test_node_that_is_not_known(tmp_path, answering):
    row = {"metric": {"node": "node-1"}, "value": [0, "1"]}
    address = answering({"data": {"resultType": "vector", "result": [row]}})
    done = run(tmp_path, "--prometheus", address, "--node", "node-9")

    assert done.exit_code == ExitCode.NOT_FOUND
    assert "knows no node 'node-9'" in done.stderr
    assert "node-1" in done.stderr


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "1e9"])
def test_hours_that_make_no_sense(tmp_path, hours):
    assert run(tmp_path, "--hours", hours).exit_code == ExitCode.USAGE
