"""Hosts and ports: of this machine alone, of all of it, and as others reach it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reram_fleet.processes.addresses import is_local

from fleet.errors import InvalidInputError

#: Addresses that bind all of a machine's, and that nobody can connect to.
WILDCARDS = ("0.0.0.0", "::")

_ADVERTISED = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\s/\[\]]+))(?::(?P<port>[0-9]{1,5}))?")


def host_port(host: str, port: int) -> str:
    """Return an address of gRPC: a numeric host of IPv6 stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def monitoring_url(address: str) -> str:
    """Return where the pages of monitoring at an address are: beyond this machine they have TLS."""
    return f"http{'' if is_local(address) else 's'}://{address}"


@dataclass(frozen=True)
class Advertised:
    """Name or address under which others reach a service, and the port if it is another one than its own."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Advertised:
        """Read `HOST`, `HOST:PORT` or `[IPV6]:PORT`; `InvalidInputError` if it is none of them."""
        found = _ADVERTISED.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if found is None or (port is not None and not 0 < port <= 65535):
            raise InvalidInputError(f"{text!r} is not HOST, HOST:PORT or [IPV6]:PORT")
        return cls(found["ipv6"] or found["host"], port)
