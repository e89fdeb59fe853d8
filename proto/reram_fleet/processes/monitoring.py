"""Monitoring over HTTP: `/metrics`, `/healthz` and `/readyz` of a process, for Prometheus and for supervisors."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, TypeAlias
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

Query: TypeAlias = Mapping[str, Sequence[str]]
Start: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]
#: Application of one path: the query, the WSGI environment and the start of the answer.
Page: TypeAlias = Callable[[Query, Mapping[str, Any], Start], Iterable[bytes]]
#: Why a process is not healthy, or not ready; "" if it is.
Check: TypeAlias = Callable[[], str]

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
#: A client that sends nothing holds a thread no longer.
_PATIENCE_S = 10.0
#: Requests that are answered at once; others wait.
_AT_ONCE = 4


class BadQueryError(ValueError):
    """A query that a page cannot answer; answered with 400."""


def metrics_page(registry: CollectorRegistry) -> Page:
    """Return the page of a registry, compressed for who takes it."""
    app = make_wsgi_app(registry)
    return lambda _query, environ, start: app(environ, start)


def collected_page(collector_of: Callable[[Query], Collector]) -> Page:
    """Return the page of a collector that depends on the query, which may be refused with `BadQueryError`."""

    def page(query: Query, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector_of(query))
        answer: Iterable[bytes] = make_wsgi_app(registry)(environ, start)
        return answer

    return page


def json_page(content: Callable[[str], Any]) -> Page:
    """Return a page of JSON that depends on the host:port by which it was asked for."""

    def page(_query: Query, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        if not _HOST.fullmatch(host):
            raise BadQueryError("the request needs a Host")
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(content(host)).encode()]

    return page


def check_page(check: Check) -> Page:
    """Return a page that answers 200, or 503 with what is wrong."""

    def page(_query: Query, _environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        found = check()
        return _text(start, "503 Service Unavailable" if found else "200 OK", found or "ok")

    return page


def process_collectors(registry: CollectorRegistry) -> None:
    """Add what Prometheus' own conventions say of a process: memory, CPU, files, start, Python."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def serve_monitoring(
    host: str, port: int, pages: Mapping[str, Page], certificate: tuple[Path, Path] | None = None
) -> tuple[WSGIServer, int]:
    """Serve pages by path in threads of their own; return the server and its port.

    Raises `OSError` if the port is taken, or the machine has no such address.

    Parameters
    ----------
    port
        0 takes a free one.
    certificate
        Files (PEM) of the certificate and its key: HTTPS.
    """
    busy = threading.BoundedSemaphore(_AT_ONCE)

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        page = pages.get(path)
        if page is None:
            return _text(start, "404 Not Found", f"here are {', '.join(sorted(pages))}")
        if method not in ("GET", "HEAD"):
            return _text(start, "405 Method Not Allowed", "only GET")
        try:
            with busy:
                return page(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True), environ, start)
        except BadQueryError as error:
            return _text(start, "400 Bad Request", str(error))
        except Exception:
            # Whoever is on call must see that there is something, and where: a scrape that fails is an alert.
            logger.exception("%s could not be answered", path)
            return _text(start, "500 Internal Server Error", "it failed: see the log")

    server = make_server(host, port, app, _Server6 if ":" in host else _Server, _Handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name="monitoring", daemon=True).start()
    return server, int(server.server_port)


def renew_certificate(server: WSGIServer, certificate: tuple[Path, Path]) -> None:
    """Show connections from now on the certificate that the files hold now, if the server speaks HTTPS."""
    if isinstance(server.socket, ssl.SSLSocket):
        server.socket.context.load_cert_chain(*certificate)


def _text(start: Start, status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A port in use is told, and not shared.
    allow_reuse_address = True

    def server_bind(self) -> None:
        # Without the look-up of a name, which may take seconds.
        super(WSGIServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line each 15 seconds, and nothing to learn from them."""
