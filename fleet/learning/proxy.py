"""Proxy between nodes and the SuperLink: the Fleet API passes, nothing else does.

Flower serves its Fleet, Control and Runtime APIs on one port, and whoever reaches the Control API can run code on every
node. Nodes therefore get the address of this proxy. It ends TLS with the coordinator's certificate and passes requests
on unchanged: a SuperNode signs its timestamp and puts key and signature in headers
(flwr.supernode.node_auth_http_interceptor), so the SuperLink still checks every node itself.

One thing it says for a node: after a SIGKILL the SuperLink takes a SuperNode for online a minute longer, and refuses
the next one of the same key. That one's proof of its key also bears that the silent one has left. A SuperNode at work
on a message is silent, too; but a device runs one, and whoever else has its key could say this without the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

import httpx
import uvicorn
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from fleet.domain.addresses import host_port
from fleet.learning.errors import FleetProxyError, LearningPlaneError
from fleet.trust.tls import ServerFiles

logger = logging.getLogger(__name__)

#: What a SuperNode calls: POST /v1/fleet/<verb>. Matched against the raw path: no dots, no escapes.
FLEET_PATH = re.compile(rb"/v1/fleet/[a-z]+(-[a-z]+)*")
#: Flower cuts larger messages into objects; a LoRA state is far below a mebibyte.
MAX_BODY_BYTES = 16 * 1024 * 1024
#: A SuperNode gives up after 30 s (flwr.supercore.protobuf.client).
UPSTREAM_TIMEOUT_S = 30.0
START_TIMEOUT_S = 15.0
#: A SuperNode asks for messages every three seconds; the SuperLink itself takes it for online a minute longer.
SILENCE_LIMIT_S = 15.0
#: One that was silent for two of these gives way to another process with its key.
SUCCESSION_S = 7.0
#: How the SuperLink refuses to let a SuperNode in whose key it has checked (FLEET_NODE_ACTIVATION_FAILED).
_REFUSED = httpx.codes.PRECONDITION_FAILED

# Of flwr.supercore.constant: the caller's key, PEM in base64; the SuperLink checks the signature beside it.
_KEY_HEADER = "flwr-public-key"

# RFC 9110, 7.6.1: these belong to one connection. Host is that of the next one.
_HOP_BY_HOP = frozenset(
    [
        *("connection", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    ]
)


class _BodyTooLargeError(Exception):
    """The request body passes the bound while it is streamed."""


class FleetProxy:
    """The proxy, served by a thread of this process.

    Parameters
    ----------
    upstream_address
        host:port of the SuperLink.
    upstream_tls
        Client context that trusts its authority (`SuperLink.tls_context`).
    certificate
        What nodes see.
    host, port
        Where it listens; port 0 picks a free one.
    called
        Host under which nodes reach it, if that is another one.
    farewell
        Returns the message by which the SuperNode of a key (OpenSSH text) leaves: `SuperLink.farewell`.
    """

    def __init__(
        self,
        upstream_address: str,
        upstream_tls: ssl.SSLContext,
        certificate: ServerFiles,
        farewell: Callable[[str], bytes],
        *,
        host: str = "127.0.0.1",
        called: str = "",
        port: int = 0,
        max_body_bytes: int = MAX_BODY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream, self._upstream_tls = f"https://{upstream_address}", upstream_tls
        self._certificate, self._host, self._port = certificate, host, port
        self._called, self._farewell = called or host, farewell
        self._max_body_bytes, self._clock = max_body_bytes, clock
        # When the SuperLink last served a SuperNode, by the key in its requests.
        self._served_s: dict[str, float] = {}
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def address(self) -> str:
        """host:port for a node's `flower-supernode --superlink`; known after `start`."""
        if self._socket is None:
            raise FleetProxyError("the proxy has no address before it is started")
        return host_port(self._called, self._socket.getsockname()[1])

    def start(self) -> None:
        """Bind the port and serve; returns when requests are accepted.

        `FleetProxyError` if the port is taken or the server does not start.
        """
        listening = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
        except OSError as error:
            listening.close()
            raise FleetProxyError(
                f"the proxy cannot listen on {self._host}:{self._port}: {error}; does one run already?"
            ) from error
        self._socket = listening
        config = uvicorn.Config(
            self._application(),
            ssl_certfile=str(self._certificate.certificate_path),
            ssl_keyfile=str(self._certificate.key_path),
            lifespan="on",
            loop="asyncio",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
        )
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="fleet-proxy", daemon=True
        )
        self._thread.start()
        waiting = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.05)):
            if server.started:
                return
            if not self._thread.is_alive():
                break
            waiting.wait(0.05)
        self.stop()
        raise FleetProxyError(f"the proxy on {self._host} did not start; see the log lines of uvicorn above")

    def stop(self) -> None:
        """Stop serving and release the port."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None

    def renew_certificate(self) -> None:
        """Show connections from now on the certificate that the files hold now."""
        if self._server is not None and self._server.config.ssl is not None:
            self._server.config.ssl.load_cert_chain(*self._certificate.pair)

    def is_gone(self, flower_public_key: str) -> bool:
        """Whether a SuperNode certainly takes no messages now; a proxy that does not run cannot know of any.

        One that was killed is online for the SuperLink for another minute: a round that asked it would wait for it.

        The key is that of `NodeIdentity.flower_public_key` (OpenSSH text).
        """
        if self._server is None:
            return False
        served_s = self._served_s.get(_header_of(flower_public_key))
        return served_s is None or self._clock() - served_s > SILENCE_LIMIT_S

    def _note(self, key: str, path: str, status: int) -> None:
        # Only what the SuperLink has checked whose it is: anybody can send a key.
        if status not in (httpx.codes.OK, _REFUSED):
            return
        if path.endswith("/deactivate-node") or (status == _REFUSED and path.endswith("/activate-node")):
            self._served_s.pop(key, None)
        elif status == httpx.codes.OK:
            self._served_s[key] = self._clock()

    def _application(self) -> Starlette:
        @contextlib.asynccontextmanager
        async def upstream(application: Starlette) -> AsyncIterator[None]:
            # Keep-alive shorter than the five seconds after which the SuperLink (uvicorn) hangs up.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=3.0)
            async with httpx.AsyncClient(
                verify=self._upstream_tls, trust_env=False, timeout=UPSTREAM_TIMEOUT_S, limits=limits
            ) as client:
                application.state.client = client
                yield

        async def handle(request: Request) -> Response:
            if request.method != "POST" or not FLEET_PATH.fullmatch(request.scope["raw_path"]):
                logger.warning("refused %s %s: not the Fleet API", request.method, request.url.path)
                return PlainTextResponse("only Flower's Fleet API passes here\n", status_code=403)
            return await self._forward(request.app.state.client, request)

        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return Starlette(routes=[Route("/{path:path}", handle, methods=methods)], lifespan=upstream)

    async def _forward(self, client: httpx.AsyncClient, request: Request) -> Response:
        # Flower retries on 503 and 504 (flwr.supercore.retry.http_retry).
        try:
            length = int(request.headers.get("content-length", "0"))
        except ValueError:
            return PlainTextResponse("content-length is not a number\n", status_code=400)
        if length > self._max_body_bytes:
            return self._too_large()
        try:
            answer = await self._answered(client, request)
        except _BodyTooLargeError:
            return self._too_large()
        except ClientDisconnect:
            return Response(status_code=400)
        except httpx.TimeoutException:
            return PlainTextResponse("the SuperLink took too long\n", status_code=504)
        except httpx.TransportError as error:
            logger.info("the SuperLink is unreachable: %s", error)
            return PlainTextResponse("the SuperLink is unreachable\n", status_code=503)
        self._note(request.headers.get(_KEY_HEADER, ""), request.url.path, answer.status_code)
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP},
            background=BackgroundTask(answer.aclose),
        )

    async def _answered(self, client: httpx.AsyncClient, request: Request) -> httpx.Response:
        headers = [(k, v) for k, v in request.headers.items() if k not in _HOP_BY_HOP]

        async def asked(content: bytes | AsyncIterator[bytes]) -> httpx.Response:
            url = self._upstream + request.scope["raw_path"].decode("ascii")
            return await client.send(client.build_request("POST", url, headers=headers, content=content), stream=True)

        if not request.url.path.endswith("/activate-node"):
            return await asked(self._bounded(request))
        body = b"".join([chunk async for chunk in self._bounded(request)])
        answer = await asked(body)
        if answer.status_code == _REFUSED and await self._predecessor_left(client, headers):
            await answer.aclose()
            answer = await asked(body)
        return answer

    async def _predecessor_left(self, client: httpx.AsyncClient, headers: list[tuple[str, str]]) -> bool:
        """Say for a SuperNode that is refused that the one before it has left, if that is silent; whether it has."""
        key = dict(headers).get(_KEY_HEADER, "")
        served_s = self._served_s.get(key)
        if served_s is None:
            return False
        await asyncio.sleep(served_s + SUCCESSION_S - self._clock())
        if self._served_s.get(key) != served_s:
            return False
        proof = [(name, value) for name, value in headers if name != "content-length"]
        try:
            message = await asyncio.to_thread(self._farewell, _key_in(key))
            answer = await client.post(f"{self._upstream}/v1/fleet/deactivate-node", headers=proof, content=message)
        except (LearningPlaneError, httpx.HTTPError) as error:
            logger.warning("a SuperNode is refused while the one before it counts as online: %s", error)
            return False
        return answer.status_code == httpx.codes.OK

    async def _bounded(self, request: Request) -> AsyncIterator[bytes]:
        # A chunked request has no length to check beforehand.
        seen_bytes = 0
        async for chunk in request.stream():
            seen_bytes += len(chunk)
            if seen_bytes > self._max_body_bytes:
                raise _BodyTooLargeError
            yield chunk

    def _too_large(self) -> Response:
        return PlainTextResponse(f"a request holds at most {self._max_body_bytes} bytes\n", status_code=413)


@lru_cache(maxsize=100_000)
def _header_of(flower_public_key: str) -> str:
    key = load_ssh_public_key(flower_public_key.encode())
    return base64.b64encode(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).decode()


def _key_in(header: str) -> str:
    key = load_pem_public_key(base64.b64decode(header))
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
