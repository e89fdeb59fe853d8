"""Pages for Prometheus and for supervisors, over HTTP as they are asked for."""

from __future__ import annotations

import gzip
import json
import ssl
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge
from reram_fleet.processes.monitoring import (
    BadQueryError,
    check_page,
    collected_page,
    json_page,
    metrics_page,
    renew_certificate,
    serve_monitoring,
)

from tests.tls import issued


@pytest.fixture
def served():
    """Return the address of a server, and what its check answers."""
    registry, state = CollectorRegistry(), {"sick": ""}
    Gauge("depth", "How deep.", registry=registry).set(3)

    def collector_of(query):
        if "of" not in query:
            raise BadQueryError("of what?")
        return registry

    def broken(host):
        raise RuntimeError(host)

    pages = {
        "/metrics": metrics_page(registry),
        "/some": collected_page(collector_of),
        "/sd": json_page(lambda host: [host]),
        "/broken": json_page(broken),
        "/healthz": check_page(lambda: state["sick"]),
    }
    server, port = serve_monitoring("127.0.0.1", 0, pages)
    yield f"http://127.0.0.1:{port}", state
    server.shutdown()
    server.server_close()


def ask(address, path, **headers):
    request = urllib.request.Request(address + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_each_path_has_its_page_and_others_are_not_there(served):
    address, _ = served
    assert b"depth 3.0" in ask(address, "/metrics")[1]
    assert b"depth 3.0" in gzip.decompress(ask(address, "/metrics", **{"Accept-Encoding": "gzip"})[1])
    assert b"depth 3.0" in ask(address, "/some?of=1")[1]
    assert ask(address, "/some") == (400, b"of what?\n")
    status, text = ask(address, "/elsewhere")
    assert (status, b"/metrics" in text) == (404, True)


def test_a_check_that_fails_answers_503_with_the_reason(served):
    address, state = served
    assert ask(address, "/healthz") == (200, b"ok\n")
    state["sick"] = "it stands still"
    assert ask(address, "/healthz") == (503, b"it stands still\n")


def test_discovery_answers_with_the_name_that_it_was_asked_by(served):
    address, _ = served
    assert json.loads(ask(address, "/sd", Host="fleet.example:9810")[1]) == ["fleet.example:9810"]
    assert ask(address, "/sd", Host='x"y')[0] == 400


def test_a_page_that_fails_says_so_and_the_others_go_on(served, caplog):
    address, _ = served
    assert ask(address, "/broken")[0] == 500
    assert "/broken could not be answered" in caplog.text
    assert ask(address, "/healthz")[0] == 200


def test_a_port_that_is_taken_is_an_error(served):
    address, _ = served
    with pytest.raises(OSError, match="in use"):
        serve_monitoring("127.0.0.1", int(address.rpartition(":")[2]), {})


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path):
    files, authority = issued(tmp_path)
    server, port = serve_monitoring("127.0.0.1", 0, {}, files.pair)
    try:
        before = ssl.get_server_certificate(("127.0.0.1", port))
        authority.issue(files, "renewed", ["127.0.0.1"])
        renew_certificate(server, files.pair)
        after = ssl.get_server_certificate(("127.0.0.1", port))
    finally:
        server.shutdown()
        server.server_close()
    assert after != before
    assert files.certificate_path.read_text().startswith(after)
