from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fleet.learning.errors import FleetProxyError, LearningPlaneError
from fleet.learning.proxy import SILENCE_LIMIT_S, FleetProxy
from fleet.trust.tls import ServerFiles, authority_in
from tests.tls import issued

MAX_BODY_BYTES = 1000


def farewell(key: str) -> bytes:
    return b"farewell"


class Upstream:
    """What stands behind the proxy: tells what it got."""

    def __init__(self, files: ServerFiles) -> None:
        self.paths: list[str] = []
        #: Whether somebody was said to have left.
        self.has_left = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])]),
                ssl_certfile=str(files.certificate_path),
                ssl_keyfile=str(files.key_path),
                ws="none",
                loop="asyncio",
                log_config=None,
            )
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    async def answer(self, request: Request) -> JSONResponse:
        self.paths.append(request.url.path)
        body = await request.body()
        self.has_left = self.has_left or body == farewell("")
        status_codes = {b"forged": 401, b"refuse": 412, b"next": 200 if self.has_left else 412}
        return JSONResponse(
            {"headers": dict(request.headers), "length": len(body)},
            status_code=status_codes.get(body, 200),
            headers={"x-flower": "yes"},
        )

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ServerFiles:
    return issued(tmp_path_factory.mktemp("tls"))[0]


@pytest.fixture(scope="module")
def tls(files: ServerFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority_in(files.certificate_path).decode())


@pytest.fixture
def upstream(files: ServerFiles) -> Iterator[Upstream]:
    upstream = Upstream(files)
    yield upstream
    upstream.stop()


@pytest.fixture
def proxy(files: ServerFiles, tls: ssl.SSLContext, upstream: Upstream) -> Iterator[FleetProxy]:
    proxy = FleetProxy(upstream.address, tls, files, farewell, max_body_bytes=MAX_BODY_BYTES)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def client(proxy: FleetProxy, tls: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"https://{proxy.address}", verify=tls, trust_env=False) as client:
        yield client


def raw_status(proxy: FleetProxy, tls: ssl.SSLContext, head: str) -> int:
    """Send a request head as it is written here: client libraries tidy paths up."""
    host, _, port = proxy.address.rpartition(":")
    with socket.create_connection((host, int(port))) as plain, tls.wrap_socket(plain, server_hostname=host) as secure:
        secure.sendall(f"{head}\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        return int(secure.recv(4096).split(b" ")[1])


def test_the_signature_of_a_supernode_arrives_unchanged(client: httpx.Client) -> None:
    sent = {"flwr-public-key": "a2V5", "flwr-signature": "c2ln+/=", "flwr-timestamp": "2026-01-01T00:00:00+00:00"}

    response = client.post("/v1/fleet/pull-messages", content=b"body", headers=sent)

    assert response.status_code == 200
    assert response.json()["headers"].items() >= sent.items()
    assert response.json()["length"] == 4
    assert response.headers["x-flower"] == "yes"


def test_the_answer_keeps_its_status(client: httpx.Client) -> None:
    assert client.post("/v1/fleet/activate-node", content=b"refuse").status_code == 412


def supernode() -> tuple[str, dict[str, str]]:
    """Return the key of a SuperNode, and the header with it."""
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(), {
        "flwr-public-key": b64encode(pem).decode()
    }


def test_a_supernode_is_gone_until_served_when_refused_or_silent_and_when_it_has_left(
    files: ServerFiles, tls: ssl.SSLContext, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.learning.proxy.SUCCESSION_S", 0.0)
    now = [0.0]
    mine, headers = supernode()
    proxy = FleetProxy(upstream.address, tls, files, farewell, clock=lambda: now[0])
    assert not proxy.is_gone(mine), "nothing is known before it runs"
    proxy.start()
    try:
        with httpx.Client(base_url=f"https://{proxy.address}", verify=tls, trust_env=False) as client:

            def call(verb: str, content: bytes = b"") -> bool:
                client.post(f"/v1/fleet/{verb}", content=content, headers=headers)
                return proxy.is_gone(mine)

            assert proxy.is_gone(mine)
            assert not call("activate-node")
            assert call("activate-node", b"refuse")
            assert not call("pull-messages")
            now[0] += SILENCE_LIMIT_S + 1
            assert proxy.is_gone(mine)
            assert not call("pull-messages")
            assert not call("activate-node", b"forged"), "whoever sent it has not shown that the key is theirs"
            assert not call("deactivate-node", b"forged")
            assert call("deactivate-node")
    finally:
        proxy.stop()


@pytest.mark.parametrize("before", ["silent", "alive", "unknown", "unregistered"])
def test_a_supernode_follows_one_of_its_key_that_the_superlink_knew_and_that_is_silent(
    files: ServerFiles, tls: ssl.SSLContext, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    mine, headers = supernode()
    asked_for: list[str] = []

    def told(key: str) -> bytes:
        asked_for.append(key)
        if before == "unregistered":
            raise LearningPlaneError("nobody has this key")
        return farewell(key)

    monkeypatch.setattr("fleet.learning.proxy.SUCCESSION_S", 0.5)
    proxy = FleetProxy(upstream.address, tls, files, told)
    proxy.start()
    try:
        with httpx.Client(
            base_url=f"https://{proxy.address}/v1/fleet", headers=headers, verify=tls, trust_env=False
        ) as client:
            if before != "unknown":
                client.post("/pull-messages")
            with ThreadPoolExecutor() as threads:
                answer = threads.submit(client.post, "/activate-node", content=b"next")
                while before == "alive" and not answer.done():
                    client.post("/pull-messages")
            let_in = answer.result().status_code == 200
            assert proxy.is_gone(mine) == (not let_in and before != "alive")
    finally:
        proxy.stop()

    assert let_in == upstream.has_left == (before == "silent")
    assert asked_for == ([mine] if before in {"silent", "unregistered"} else [])


@pytest.mark.parametrize(
    "head",
    [
        "POST /v1/control/start-run HTTP/1.1",
        "POST /v1/runtime/acquire-task HTTP/1.1",
        "GET /v1/fleet/get-fab HTTP/1.1",
        "POST /v1/fleet/ HTTP/1.1",
        "POST /v1/fleet/../control/start-run HTTP/1.1",
        "POST /v1/fleet/%2e%2e/control/start-run HTTP/1.1",
        "POST /v1/fleet/..%2fcontrol%2fstart-run HTTP/1.1",
        "POST /v1/fleet//../control/start-run HTTP/1.1",
        "POST /v1/fleet/get-fab/../../control/start-run HTTP/1.1",
        "POST /v1/fleet/x;/../../control/start-run HTTP/1.1",
        "POST //v1/fleet/get-fab HTTP/1.1",
        "GET /docs HTTP/1.1",
    ],
)
def test_nothing_but_the_fleet_api_passes(
    proxy: FleetProxy, tls: ssl.SSLContext, upstream: Upstream, head: str
) -> None:
    assert raw_status(proxy, tls, head) == 403
    assert upstream.paths == []


def test_a_body_over_the_bound_is_refused_before_it_is_read(client: httpx.Client, upstream: Upstream) -> None:
    assert client.post("/v1/fleet/push-object", content=b"x" * MAX_BODY_BYTES).status_code == 200
    assert client.post("/v1/fleet/push-object", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
    assert len(upstream.paths) == 1


def test_a_body_without_a_length_is_bounded_while_it_streams(client: httpx.Client) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * 100

    assert client.post("/v1/fleet/push-object", content=chunks(10)).json()["length"] == MAX_BODY_BYTES
    assert client.post("/v1/fleet/push-object", content=chunks(11)).status_code == 413


def test_a_superlink_that_is_away_is_503_which_nodes_retry(client: httpx.Client, upstream: Upstream) -> None:
    upstream.stop()

    assert client.post("/v1/fleet/pull-messages", content=b"").status_code == 503


def test_a_superlink_of_another_authority_is_not_trusted(
    files: ServerFiles, tls: ssl.SSLContext, upstream: Upstream, tmp_path: Path
) -> None:
    stranger = ssl.create_default_context(cadata=issued(tmp_path)[1].pem.decode())
    proxy = FleetProxy(upstream.address, stranger, files, farewell)
    proxy.start()
    try:
        response = httpx.post(f"https://{proxy.address}/v1/fleet/get-run", verify=tls, trust_env=False)
    finally:
        proxy.stop()

    assert response.status_code == 503
    assert upstream.paths == []


def test_a_taken_port_is_a_clear_error(files: ServerFiles, tls: ssl.SSLContext, proxy: FleetProxy) -> None:
    port = int(proxy.address.rpartition(":")[2])
    second = FleetProxy("127.0.0.1:1", tls, files, farewell, port=port)

    with pytest.raises(FleetProxyError, match=f"cannot listen on 127.0.0.1:{port}"):
        second.start()


def test_a_stopped_proxy_gives_its_port_back(files: ServerFiles, tls: ssl.SSLContext) -> None:
    first = FleetProxy("127.0.0.1:1", tls, files, farewell)
    first.start()
    port = int(first.address.rpartition(":")[2])
    first.stop()

    second = FleetProxy("127.0.0.1:1", tls, files, farewell, port=port)
    second.start()
    second.stop()


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    files, authority = issued(tmp_path)
    proxy = FleetProxy(upstream.address, ssl.create_default_context(), files, farewell)
    proxy.start()
    try:
        host, port = proxy.address.split(":")
        before = ssl.get_server_certificate((host, int(port)))
        authority.issue(files, "renewed", ["127.0.0.1"])
        proxy.renew_certificate()
        after = ssl.get_server_certificate((host, int(port)))
    finally:
        proxy.stop()

    assert after != before
    assert files.certificate_path.read_text().startswith(after)


def test_nodes_are_told_the_name_that_the_certificate_has(files: ServerFiles, tls: ssl.SSLContext) -> None:
    proxy = FleetProxy("127.0.0.1:1", tls, files, farewell, called="fleet.example")
    proxy.start()
    proxy_address = proxy.address
    proxy.stop()

    assert proxy_address.startswith("fleet.example:")
